"""What kind of response a good one is: its status where it is 3xx or 4xx, its size where it is 2xx, or cut short.

The kinds are a fixed list, so that counts of them are short tuples, as buckets of latency are. A 304 and a 1xx are no
kind: they say that all is well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

STATUSES = ("301", "302", "303", "307", "308", "3xx", "400", "401", "403", "404", "405", "410", "422", "429", "4xx")
CUT = len(STATUSES)  # the client left while it was given the response
LEFT = CUT + 1  # the client left before there was a response; it is in no count of responses
EMPTY = LEFT + 1  # the first bucket of sizes; then up to 4^3 bytes, 4^3 to 4^4 bytes, and so on
SIZES = 12
NUMBER = EMPTY + SIZES
LEAST = 8  # bytes: less than this is empty
SMALLER = 2  # buckets: a candidate's response counts as small if it is 16 times smaller than stable's small ones
_INDEX = {status: index for index, status in enumerate(STATUSES)}
_THRESHOLDS = range(4, 10)  # buckets: 1 KiB to 1 MiB


def of_status(status: int) -> int | None:
    """Return the kind of a response with this status; None for one that is told by its size, or not at all."""
    if not 300 <= status < 500 or status == 304:
        return None
    return _INDEX.get(str(status), _INDEX[f"{status // 100}xx"])


def of_size(size: int) -> int:
    """Return the kind of a 2xx response with a body of so many bytes."""
    return EMPTY if size < LEAST else min(NUMBER - 1, EMPTY + max(1, (size.bit_length() - 1) // 2 - 1))


@dataclass(frozen=True)
class Feature:
    """Something of which a candidate should not have much more than stable: responses of some kinds.

    For a size the candidate's kinds are fewer than stable's, so that somewhat smaller responses are no evidence.
    """

    name: str
    weight: float  # of all features, which sum up to 1
    stable: range
    candidate: range
    unanswered: bool = False  # what has it is no response
    beside: str = ""  # how stable's are called, where it is not by the same name

    def counts(self, stable: Sequence[int], candidate: Sequence[int]) -> tuple[int, int]:
        """Return how many of the responses of both sides have it; kinds that are not there are 0."""
        mine, others = self.stable, self.candidate
        return sum(stable[mine.start : mine.stop]), sum(candidate[others.start : others.stop])


def _features() -> Iterator[Feature]:
    for index, status in enumerate(STATUSES):
        yield Feature(f"status {status}", 0.4 / len(STATUSES), range(index, index + 1), range(index, index + 1))
    yield Feature("cut short by the client", 0.1, range(CUT, CUT + 1), range(CUT, CUT + 1))
    yield Feature(
        "left by the client before a response", 0.1, range(LEFT, LEFT + 1), range(LEFT, LEFT + 1), unanswered=True
    )
    yield Feature("empty body", 0.2, range(EMPTY, EMPTY + 1), range(EMPTY, EMPTY + 1))
    for bucket in _THRESHOLDS:
        name, beside = (f"body under {_bytes(4 ** (k + 1))}" for k in (bucket - SMALLER, bucket))
        of_candidate = range(EMPTY, EMPTY + bucket - SMALLER)
        yield Feature(name, 0.2 / len(_THRESHOLDS), range(EMPTY, EMPTY + bucket), of_candidate, beside=beside)


def _bytes(size: int) -> str:
    return f"{size} B" if size < 1024 else f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


FEATURES = tuple(_features())


def told(counts: Sequence[int]) -> Mapping[str, int]:
    """Return what is told of kinds: statuses, empty bodies and responses that were cut short, if there are any."""
    names = (*STATUSES, "cut", "left", "empty")
    return {name: count for name, count in zip(names, counts, strict=False) if count}

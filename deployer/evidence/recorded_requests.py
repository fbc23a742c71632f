"""The requests of a recording one by one: when each came, and how long it took.

A recording has no single requests: each of its looks counts those that ended since the look before, by the time to
their response. Here each ends at a moment of that time that is drawn, takes a time that is drawn from its place in the
histogram, and came so long before. The draws are the same ones each time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from deployer.core.errors import Refused
from deployer.evidence.recording import Cut, Looked, RecordedDrive
from deployer.evidence.replay import ReplaySource
from deployer.evidence.request_log import LOOK, RequestLog
from deployer.model import LATENCY_BOUNDS, Counts, Sample

UNSEEN_SECONDS = 15.0  # without a look, after which it is not known what came meanwhile
LONGEST = LATENCY_BOUNDS[-1] / 1000  # seconds of a request
_SEED = 1


@dataclass
class RecordedRequests:
    """The requests of a recording in the order in which they came; they can be gone through more than once.

    Time that was not recorded is left out, so that what was recorded is in one piece. What is known of the whole after
    it was gone through once: when it `ended`, how many requests it has, how many had no time of their own.
    """

    source: ReplaySource
    ended: float = 0.0
    requests: int = 0
    untimed: int = 0
    lost: int = 0
    skipped: float = 0.0
    cut: bool = False
    _heap: list[tuple[float, float]] = field(default_factory=list)

    def began(self) -> float:
        """Return the beginning of the time that was recorded. Raise Refused where nothing was."""
        for since, _, _ in RecordedRequests(self.source)._looks():
            return since
        raise self._nothing("no look is in it")

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """Yield the time at which each request came, and its seconds. Raise Refused where none has a time."""
        chance, last = Random(_SEED), Counts()  # noqa: S311 - draws, no secrets
        self.requests = self.untimed = self.lost = 0
        self._heap = []
        for since, at, sample in self._looks():
            counts = sample.stable + sample.candidate + sample.rest
            last = Counts(latency=counts.latency) if any(counts.latency) else last
            self.lost += sample.lost
            self._add(counts, sample.few, last, since, at, chance)
            while self._heap and self._heap[0][0] <= since - LONGEST:
                yield heapq.heappop(self._heap)
        while self._heap:
            yield heapq.heappop(self._heap)
        if self.requests == self.untimed:
            lacks = "no response in it has a time" if self.requests else "no request in it was answered"
            raise self._nothing(lacks)

    def _nothing(self, lacks: str) -> Refused:
        return Refused(f"{self.source.path}: {lacks}", "record while the service has users: `deploy record`")

    def _add(self, counts: Counts, few: int, last: Counts, since: float, at: float, chance: Random) -> None:
        timed = sum(counts.latency)
        untimed = max(0, counts.requests - timed) + few
        self.requests += timed + untimed
        self.untimed += untimed
        for bucket, number in enumerate(counts.latency):
            for _ in range(number):
                self._push(bucket, since, at, chance)
        for bucket in _drawn(last, untimed, chance):
            self._push(bucket, since, at, chance)

    def _push(self, bucket: int, since: float, at: float, chance: Random) -> None:
        low = LATENCY_BOUNDS[bucket - 1] if bucket else 0.0
        takes = chance.uniform(low, LATENCY_BOUNDS[min(bucket, len(LATENCY_BOUNDS) - 1)]) / 1000
        heapq.heappush(self._heap, (chance.uniform(since, at) - takes, takes))

    def _looks(self) -> Iterator[tuple[float, float, Sample]]:
        """Yield each look with the moment since which its requests ended."""
        quiet = isinstance(self.source, RequestLog)  # a log has nothing where nobody came
        before: float | None = None
        offset = self.skipped = 0.0
        self.cut = False
        for mark in self.source:
            match mark:
                case RecordedDrive():
                    unix = float(mark.header.get("started_at", 0.0)) - float(mark.header.get("monotonic", 0.0))
                    offset = unix - self.skipped
                case Cut():
                    self.cut = True
                case Looked():
                    at = mark.at + offset
                    if before is None:
                        before = at - LOOK
                    elif not quiet and not 0 <= at - before <= UNSEEN_SECONDS:
                        self.skipped += at - before - LOOK
                        offset -= at - before - LOOK
                        at = before + LOOK
                    yield (max(before, at - LOOK) if quiet else before), at, mark.sample
                    before = self.ended = at


def _drawn(counts: Counts, number: int, chance: Random) -> list[int]:
    """Return places of a histogram, drawn by how many are at each; the first one where nothing is known."""
    if not counts.latency or not number:
        return [0] * number
    return chance.choices(range(len(counts.latency)), counts.latency, k=number)

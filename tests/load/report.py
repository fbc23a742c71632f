"""What became of the requests of a run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

from tests.load.request import Request

SHOWN = 20  # failures listed in the text


@dataclass(frozen=True)
class Latency:
    """How long answers took, seconds."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency:
        """Take the quantiles; zeros when there is nothing."""
        rows = sorted(seconds)
        if not rows:
            return cls(0.0, 0.0, 0.0)
        return cls(rows[len(rows) // 2], rows[min(len(rows) - 1, int(len(rows) * 0.99))], rows[-1])


@dataclass(frozen=True)
class Report:
    """The account of all requests of a run, or of a part of it."""

    requests: tuple[Request, ...]
    marks: dict[str, float] = field(default_factory=dict)
    moved: int = 0  # WebSockets that were asked to connect again
    lag: float = 0.0  # the longest time, in seconds, that the load process was kept from running

    @property
    def sent(self) -> int:
        """Requests that were begun."""
        return len(self.requests)

    @property
    def failures(self) -> tuple[Request, ...]:
        """Requests without a whole answer in time, and those with a status that counts as a failure."""
        return tuple(r for r in self.requests if r.error)

    @property
    def failed(self) -> int:
        """Number of failures."""
        return len(self.failures)

    @property
    def answered(self) -> int:
        """Requests that were answered as they should be."""
        return self.sent - self.failed

    @property
    def by_version(self) -> dict[str, int]:
        """Answered requests of each version."""
        return dict(Counter(r.version for r in self.requests if not r.error))

    @property
    def by_kind(self) -> dict[str, tuple[int, int]]:
        """Answered and failed requests of each kind."""
        good, bad = Counter(r.kind for r in self.requests if not r.error), Counter(r.kind for r in self.failures)
        return {kind: (good[kind], bad[kind]) for kind in sorted({*good, *bad})}

    @property
    def bad(self) -> dict[str, int]:
        """Failures of each method."""
        return dict(Counter(r.method for r in self.failures))

    @property
    def at_once(self) -> int:
        """The most requests that were in progress at the same moment."""
        moments = sorted([(r.start, 1) for r in self.requests] + [(r.end, -1) for r in self.requests])
        return max(accumulate((change for _, change in moments), initial=0))

    @property
    def seen(self) -> dict[str, tuple[float, float]]:
        """When each version gave its first and its last answer, Unix seconds."""
        times: dict[str, tuple[float, float]] = {}
        for r in self.requests:
            if not r.error:
                first, last = times.get(r.version, (r.end, r.end))
                times[r.version] = (min(first, r.end), max(last, r.end))
        return times

    def latency(self, *kinds: str) -> Latency:
        """Return the latency of answered requests of these kinds; of all but the slow ones when none is named."""
        return Latency.of(
            r.seconds for r in self.requests if not r.error and (r.kind in kinds if kinds else r.kind != "slow")
        )

    def journeys(self, kind: str = "sticky") -> dict[str, tuple[str, ...]]:
        """Return the versions that each client of a kind met, in order, without repetitions."""
        met: dict[str, list[str]] = {}
        for r in sorted(self.requests, key=lambda r: r.start):
            if r.kind == kind and not r.error:
                path = met.setdefault(r.client, [])
                if path[-1:] != [r.version]:
                    path.append(r.version)
        return {client: tuple(path) for client, path in met.items()}

    def only(self, *kinds: str, client: str = "", method: str = "") -> Report:
        """Return the part that is of these kinds (all when none is named), of this client, of this method, if named."""

        def wanted(r: Request) -> bool:
            return (not kinds or r.kind in kinds) and client in ("", r.client) and method in ("", r.method)

        return replace(self, requests=tuple(r for r in self.requests if wanted(r)))

    def after(self, start: float | str) -> Report:
        """Return the part that was begun at or after a moment (Unix seconds) or mark."""
        return replace(self, requests=tuple(r for r in self.requests if r.start >= self._moment(start)))

    def before(self, end: float | str) -> Report:
        """Return the part that was begun before a moment (Unix seconds) or mark."""
        return replace(self, requests=tuple(r for r in self.requests if r.start < self._moment(end)))

    def _moment(self, at: float | str) -> float:
        return self.marks[at] if isinstance(at, str) else at

    def text(self) -> str:
        """Return a few lines for people."""
        quick = self.latency()
        versions = ", ".join(f"{v or 'unknown'}: {n}" for v, n in sorted(self.by_version.items()))
        kinds = ", ".join(f"{k}: {good + bad}" for k, (good, bad) in self.by_kind.items())
        lines = [
            f"{self.sent} requests, {self.answered} answered, {self.failed} failed",
            f"by version: {versions or 'none'}",
            f"by kind: {kinds or 'none'}",
            f"latency: p50 {quick.p50 * 1e3:.1f} ms, p99 {quick.p99 * 1e3:.1f} ms, max {quick.max * 1e3:.1f} ms",
            f"the load itself was kept from running for up to {self.lag:.1f} s",
        ]
        lines += [f"  {failure}" for failure in self.failures[:SHOWN]]
        if self.failed > SHOWN:
            lines.append(f"  ... and {self.failed - SHOWN} more")
        return "\n".join(lines)

    def record(self) -> dict[str, object]:
        """Return the summary as plain data for JSON."""
        quick = self.latency()
        return {
            "sent": self.sent,
            "answered": self.answered,
            "failed": self.failed,
            "by_version": self.by_version,
            "by_kind": self.by_kind,
            "bad": self.bad,
            "seen": self.seen,
            "latency_ms": {"p50": quick.p50 * 1e3, "p99": quick.p99 * 1e3, "max": quick.max * 1e3},
            "moved": self.moved,
            "lag_ms": self.lag * 1e3,
            "marks": self.marks,
            "failures": [json.loads(f.dump()) for f in self.failures],
        }


def read_requests(path: Path) -> tuple[Request, ...]:
    """Read the requests that are in the file, leaving out a last line that is still being written."""
    lines = path.read_text().split("\n")
    return tuple(Request.load(line) for line in lines[:-1])

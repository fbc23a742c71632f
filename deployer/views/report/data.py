"""What a report tells, as plain frozen data: rates are fractions, times Unix seconds, latencies ms, shares bp."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deployer.views.data import JournalRow, RolloutRow, View, WatchView


@dataclass(frozen=True)
class RatePoint(View):
    """Answers of one side in a stretch of time, and in its watch so far, with the band of the latter's error rate.

    Latencies are those of the last few stretches of the watch: of one alone they would say little.
    """

    requests: int = 0
    errors: int = 0
    watch_requests: int = 0
    watch_errors: int = 0
    low: float = 0.0
    high: float = 1.0
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None

    @property
    def rate(self) -> float | None:
        """The part of the watch's answers so far that was bad; None when nothing was answered."""
        return self.watch_errors / self.watch_requests if self.watch_requests else None


@dataclass(frozen=True)
class Point(View):
    """Both sides in the stretch from `began` to `at`, and what was known of the candidate then.

    `worse` and `proofs` say from 0 to 1 how far it was to "worse" and, by what was to be shown, to "no worse".
    `seen` and `shielded` count failed responses of the candidate in this rollout, seen by users and kept from them.
    """

    began: float
    at: float
    watch: int
    share: int
    stable: RatePoint
    candidate: RatePoint
    measured: float | None = None
    worse: float | None = None
    proofs: dict[str, float] = field(default_factory=dict)
    seen: int = 0
    shielded: int = 0


@dataclass(frozen=True)
class MetricView(View):
    """What a metric from elsewhere said last; values are None where it had no data."""

    name: str
    verdict: str
    text: str
    candidate: float | None = None
    stable: float | None = None
    limit: float | None = None
    dry_run: bool = False


@dataclass(frozen=True)
class Mark(View):
    """A moment that plots show: the share changed, or what ended the trial; `label` is its word, `text` all of it."""

    at: float
    kind: str  # share, end, promoted, held
    label: str
    text: str


@dataclass(frozen=True)
class Placed(View):
    """An instance of the rollout and the address that it had."""

    name: str
    address: str


@dataclass(frozen=True)
class TimelineRow(View):
    """One line of the timeline: Unix time, the share in force afterwards, the sentence."""

    at: float
    share: int
    kind: str
    text: str


@dataclass(frozen=True)
class ReportView(View):
    """A rollout in full, with the reasons first. `points` is empty for a rollout that nobody recorded."""

    service: str
    rollout: RolloutRow
    origin_version: str
    cause: str
    remedy: str = ""
    log: tuple[str, ...] = ()
    trips: tuple[tuple[str, str], ...] = ()
    asked: tuple[tuple[float, str], ...] = ()
    budget: int = 0
    seen: int | None = None
    shielded: int = 0
    answers: int = 0
    highest: int = 0
    lost: int = 0
    watches: tuple[WatchView, ...] = ()
    metrics: tuple[MetricView, ...] = ()
    points: tuple[Point, ...] = ()
    marks: tuple[Mark, ...] = ()
    steps: tuple[JournalRow, ...] = ()
    timeline: tuple[TimelineRow, ...] = ()
    instances: tuple[Placed, ...] = ()
    about: tuple[tuple[str, str], ...] = ()
    policy: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    made_at: float = 0.0
    served: bool = True  # users reach the service

"""Reading metrics from elsewhere while a watch looks on: in the background, so that no source can hold it up."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeployError
from deployer.drivers.ports import MetricSide
from deployer.engine.run import Drive
from deployer.judge.metrics import Kind, MetricJudge, MetricVerdict, Reading, together
from deployer.model import other
from deployer.planning.steps import Observe, Watch

if TYPE_CHECKING:
    from deployer.manifest.models import Metric

SLACK_SECONDS = 1.0  # beyond its time-outs in which a reading must have come


def in_background(work: Callable[[], None]) -> None:
    """Do work in a thread that does not keep the process alive."""
    threading.Thread(target=work, name="metric", daemon=True).start()


@dataclass(frozen=True)
class WatchedDeadline(Deadline):
    """A deadline that is over with the watch at the latest."""

    ended: threading.Event = field(default_factory=threading.Event)

    def left(self) -> float:
        """Return the seconds that remain, never negative."""
        return 0.0 if self.ended.is_set() else super().left()

    def passed(self) -> bool:
        """Return whether the wait is over."""
        return self.ended.is_set() or super().passed()


@dataclass
class _Poll:
    """One metric in progress: what it showed so far, and what was told of it."""

    judge: MetricJudge
    next_at: float
    began: float | None = None  # of the reading that is being taken
    told: tuple[object, ...] = ()
    answers: SimpleQueue[Reading] = field(default_factory=SimpleQueue)


class MetricWatch:
    """The metrics of one watch: `look` never waits, and tells each verdict that has changed.

    A metric whose every limit is about stable is left out where all users are on the candidate.
    """

    def __init__(self, run: Drive, step: Watch | Observe, *, compared: bool) -> None:
        self._run = run
        self._sides = _sides(run, step, compared=compared)
        self._ended = threading.Event()
        alone, now = len(self._sides) == 1, run.clock.monotonic()
        metrics = run.candidate.manifest.judge.metrics
        judged = (MetricJudge(metric, alone) for metric in metrics if metric.absolute or not alone)
        # A short watch must not be over before the first reading; one at its very beginning would tell nothing of it.
        longest = step.seconds / 2 if step.seconds else math.inf
        self._polls = [_Poll(judge, now + min(judge.metric.interval, longest)) for judge in judged]

    def look(self) -> tuple[Kind, str]:
        """Take what has come, ask for what is due; return what all metrics together say."""
        now = self._run.clock.monotonic()
        verdicts = []
        for poll in self._polls:
            self._take(poll, now)
            self._ask(poll, now)
            self._tell(poll)
            verdicts.append(poll.judge.verdict)
        return together(verdicts)

    def close(self) -> None:
        """End with the watch: what is being read is given up, and nobody waits for it."""
        self._ended.set()

    def _take(self, poll: _Poll, now: float) -> None:
        try:
            reading = poll.answers.get_nowait()
        except Empty:
            patience = poll.judge.metric.timeout * len(self._sides) + SLACK_SECONDS
            if poll.began is not None and now - poll.began > patience and not _silent(poll):
                # Some waits have no end of their own: that of the system's name service for one.
                poll.judge = poll.judge.after(Reading(trouble=f"no reading within {patience:g} s"))
            return
        poll.began, poll.next_at = None, now + poll.judge.metric.interval
        poll.judge = poll.judge.after(reading)

    def _ask(self, poll: _Poll, now: float) -> None:
        if poll.began is None and now >= poll.next_at:
            poll.began = now
            in_background(lambda: poll.answers.put(self._read(poll.judge.metric)))

    def _read(self, metric: Metric) -> Reading:
        try:
            candidate, *others = self._sides
            value = self._value(metric, candidate)
            compared = self._value(metric, others[0]) if metric.compares and others else None
        except DeployError as error:
            return Reading(trouble=error.message)
        except Exception as error:  # noqa: BLE001 - a bug of ours must not look like a source that never answers
            return Reading(trouble=f"internal error: {type(error).__name__}")
        return Reading(value, compared)

    def _value(self, metric: Metric, side: MetricSide) -> float | None:
        deadline = Deadline.after(self._run.clock, metric.timeout)
        watched = WatchedDeadline(deadline.clock, deadline.at, deadline.seconds, self._ended)
        return self._run.drivers.metrics.read(metric, side, self._run.secrets(self._run.candidate), watched)

    def _tell(self, poll: _Poll) -> None:
        verdict, seen = poll.judge.verdict, poll.judge.last
        if seen is None:
            return
        # Values change with each reading; what they mean does not.
        state = (verdict.kind, poll.judge.bad, seen.trouble, seen.candidate is None, seen.stable is None)
        if state != poll.told and not (poll.told and poll.told[0] == verdict.kind == "worse"):
            poll.told = state
            self._run.tell("metric", **_event(verdict))


def _silent(poll: _Poll) -> bool:
    return poll.judge.last is not None and bool(poll.judge.last.trouble)


def _event(verdict: MetricVerdict) -> dict[str, Any]:
    return {
        "name": verdict.name,
        "verdict": verdict.kind,
        "text": verdict.text,
        "candidate": verdict.candidate,
        "stable": verdict.stable,
        "limit": verdict.limit,
        "dry_run": verdict.dry_run,
    }


def _sides(run: Drive, step: Watch | Observe, *, compared: bool) -> list[MetricSide]:
    """Return the candidate and, where it is `compared`, stable."""
    candidate = run.release(step.release)
    sides = [MetricSide("candidate", run.service, step.colour, candidate.number, candidate.version)]
    if compared:
        stable = run.release(run.rollout.plan.origin)
        sides.append(MetricSide("stable", run.service, other(step.colour), stable.number, stable.version))
    return sides

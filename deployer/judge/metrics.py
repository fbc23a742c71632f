"""What a metric from elsewhere says: readings in, a verdict out.

Plain thresholds: a limit, and how many readings in a row count. That has no error probability; the judge of the
requests themselves has one. No data is neither good nor bad, and a source that is down says nothing about a release.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from deployer.manifest.models import Metric


Kind = Literal["worse", "no worse", "inconclusive"]


@dataclass(frozen=True)
class Reading:
    """What a source gave at one moment; a value is None where it has no data, `trouble` says why there is no answer."""

    candidate: float | None = None
    stable: float | None = None
    trouble: str = ""


@dataclass(frozen=True)
class MetricVerdict:
    """What is known by one metric, as a sentence and with the last values beside the limit.

    `waits` tells that a rollout must not go on by it.
    """

    name: str
    kind: Kind
    text: str
    candidate: float | None = None
    stable: float | None = None
    limit: float | None = None
    dry_run: bool = False
    waits: bool = False


@dataclass(frozen=True)
class Limit:
    """A bound for the candidate's value and where it comes from."""

    value: float
    upper: bool
    why: str

    def allows(self, value: float) -> bool:
        """Return whether a value is within the bound."""
        return value <= self.value if self.upper else value >= self.value


@dataclass(frozen=True)
class MetricJudge:
    """The readings of one metric in one watch, as counts. Once worse is always worse.

    `alone` tells that there is no stable to compare with, since all users are on the candidate. A reading without data
    breaks a row of good ones, but no row of bad ones.
    """

    metric: Metric
    alone: bool = False
    bad: int = 0
    good: int = 0
    last: Reading | None = None
    worse: MetricVerdict | None = None

    def after(self, reading: Reading) -> MetricJudge:
        """Return the judge after one more reading."""
        judge = replace(self, last=reading)
        match judge._within():
            case None:
                judge = replace(judge, good=0)
            case True:
                judge = replace(judge, good=self.good + 1, bad=0)
            case False:
                judge = replace(judge, good=0, bad=self.bad + 1)
        if judge.worse is None and judge.bad >= self.metric.failures:
            judge = replace(judge, worse=judge._said("worse", f"{judge._compared()}, {_times(judge.bad)}"))
        return judge

    @property
    def verdict(self) -> MetricVerdict:
        """What is known now."""
        if self.worse:
            return self.worse
        missing = self._missing()
        if missing:
            return self._said("inconclusive", missing)
        if self.bad:
            return self._said("inconclusive", f"{self._compared()}, {self.bad} of {_times(self.metric.failures)}")
        if self.good < self.metric.readings:
            return self._said("inconclusive", f"{self._compared()}, {self.good} of {_times(self.metric.readings)}")
        return self._said("no worse", self._compared())

    def _said(self, kind: Kind, text: str) -> MetricVerdict:
        seen = self.last or Reading()
        limit = self._decisive()
        empty = self.last is not None and not self.last.trouble and bool(self._missing())
        return MetricVerdict(
            self.metric.name,
            kind,
            text,
            seen.candidate,
            seen.stable,
            limit.value if limit else None,
            self.metric.dry_run,
            waits=kind == "inconclusive" and not self.metric.dry_run and (self.metric.must_have_data or not empty),
        )

    def _missing(self) -> str:
        """Return what is missing for a comparison, "" when nothing is."""
        if self.last is None:
            return "no reading yet"
        if self.last.trouble:
            return self.last.trouble
        if self.last.candidate is None:
            return "no data on the candidate"
        if self._within() is None:
            return "no data on stable"
        return ""

    def _within(self) -> bool | None:
        """Return whether the last reading is within all limits; None when that cannot be said."""
        value = self.last.candidate if self.last else None
        if value is None:
            return None
        if not all(limit.allows(value) for limit in self._limits()):
            return False
        return None if self._compares() and self.last and self.last.stable is None else True

    def _compares(self) -> bool:
        return self.metric.compares and not self.alone

    def _limits(self) -> Iterator[Limit]:
        metric, stable = self.metric, self.last.stable if self.last else None
        if metric.max is not None:
            yield Limit(metric.max, True, "")
        if metric.min is not None:
            yield Limit(metric.min, False, "")
        if self._compares() and stable is not None:
            yield _against(stable, metric)

    def _decisive(self) -> Limit | None:
        """Return the limit that the value breaks, or the first one."""
        limits, value = list(self._limits()), self.last.candidate if self.last else None
        broken = [limit for limit in limits if value is not None and not limit.allows(value)]
        return next(iter(broken or limits), None)

    def _compared(self) -> str:
        limit, value = self._decisive(), self.last.candidate if self.last else None
        if limit is None or value is None:
            return "no data"
        bound = "at most" if limit.upper else "at least"
        return f"candidate {_number(value)}, allowed is {bound} {_number(limit.value)}{limit.why}"


def together(verdicts: Iterable[MetricVerdict]) -> tuple[Kind, str]:
    """Return what all metrics together say, with the sentences of those that decide it; dry runs decide nothing."""
    counted = [verdict for verdict in verdicts if not verdict.dry_run]
    for kind in ("worse", "inconclusive"):
        deciding = [_named(v) for v in counted if v.kind == kind and (kind == "worse" or v.waits)]
        if deciding:
            return kind, "; ".join(deciding)
    return "no worse", "; ".join(map(_named, counted))


def _named(verdict: MetricVerdict) -> str:
    return f"{verdict.name}: {verdict.text}"


def _against(stable: float, metric: Metric) -> Limit:
    """Allow the margin or the addition, whichever is more."""
    margin, add = metric.margin or 1.0, metric.add or 0.0
    if metric.better == "higher":
        return Limit(min(stable / margin, stable - add), False, f" (stable {_number(stable)})")
    return Limit(max(stable * margin, stable + add), True, f" (stable {_number(stable)})")


def _number(value: float) -> str:
    return f"{value:.4g}"


def _times(count: int) -> str:
    return f"{count} reading{'s' * (count != 1)} in a row"

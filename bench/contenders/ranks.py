"""A judge that compares two series of points by their ranks, as Kayenta does.

Written anew from its documents and its classifier: per metric a Mann-Whitney test of the points of both sides, the
98 % confidence interval of the shift between them, and the candidate is worse when the interval lies beyond a quarter
of the estimated shift. Outliers are kept.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from bench.contenders.interval import total
from bench.traffic.world import Tick
from deployer.model import LATENCY_BOUNDS, Counts

_POINT = 10.0  # seconds: Kayenta's documents advise 50 points of a metric at least
_WINDOW = 600.0  # seconds between two judgements, each of everything since the start
_CONFIDENCE = 0.98
_EFFECT = 0.25


@dataclass(frozen=True)
class Ranked:
    """The test of two samples: U of the first, its normal deviate and the probability of one as large, both sides."""

    u: float
    z: float
    p: float


def mann_whitney(first: Sequence[float], second: Sequence[float]) -> Ranked:
    """Test whether one sample tends to larger values; normal approximation, corrected for ties and continuity."""
    n, m = len(first), len(second)
    u = _rank_sum(first, second) - n * (n + 1) / 2
    off = u - n * m / 2
    deviation = _deviation(first, second)
    if not deviation:
        return Ranked(u, 0.0, 1.0)
    z = math.copysign(max(0.0, abs(off) - 0.5), off) / deviation
    return Ranked(u, z, min(1.0, 2 * (1 - NormalDist().cdf(abs(z)))))


def _rank_sum(first: Sequence[float], second: Sequence[float]) -> float:
    """Add the ranks of the first sample up; equal values share the middle one of their ranks."""
    count = Counter(first) + Counter(second)
    rank, below = {}, 0
    for value in sorted(count):
        rank[value] = below + (count[value] + 1) / 2
        below += count[value]
    return sum(rank[value] for value in first)


def _deviation(first: Sequence[float], second: Sequence[float]) -> float:
    n, m = len(first), len(second)
    ties = sum(t**3 - t for t in (Counter(first) + Counter(second)).values())
    return math.sqrt(n * m / 12 * (n + m + 1 - ties / ((n + m) * (n + m - 1))))


def shift(first: Sequence[float], second: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Return the estimate by Hodges and Lehmann of how far the first sample lies above the second, and its interval.

    (lowest, estimate, highest): quantiles of all differences, chosen so that the test would just not reject them.
    """
    differences = sorted(a - b for a in first for b in second)
    pairs = len(differences)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    out = max(0, math.floor(pairs / 2 - z * _deviation(first, second) - 0.5))
    middle = (differences[(pairs - 1) // 2] + differences[pairs // 2]) / 2
    return differences[out], middle, differences[pairs - 1 - out]


def larger(candidate: Sequence[float], stable: Sequence[float]) -> bool:
    """Return whether the candidate's points lie so far above stable's that they count as worse."""
    if not candidate or not stable or list(candidate) == list(stable):
        return False
    lowest, estimate, _ = shift(candidate, stable, _CONFIDENCE)
    return lowest > _EFFECT * abs(estimate)


class Ranks:
    """Judges error rate, mean and p99 of the answer times at the end of each window."""

    def __init__(self) -> None:
        self._next_point, self._next_window = _POINT, _WINDOW
        self._sides: dict[str, list[Counts]] = {"stable": [], "candidate": []}
        self._metrics: dict[str, dict[str, list[float]]] = {
            name: {"stable": [], "candidate": []} for name in ("errors", "mean", "p99")
        }

    def observe(self, tick: Tick) -> bool:
        """Look at what was answered since the last tick; return whether the candidate must go."""
        self._sides["stable"].append(tick.sample.stable)
        self._sides["candidate"].append(tick.sample.candidate)
        if tick.at >= self._next_point:
            self._next_point += _POINT
            self._close_point()
        if tick.at < self._next_window:
            return False
        self._next_window += _WINDOW
        return any(larger(m["candidate"], m["stable"]) for m in self._metrics.values())

    def _close_point(self) -> None:
        for side, parts in self._sides.items():
            for name, value in _points(total(parts)):
                self._metrics[name][side].append(value)
            parts.clear()


def _points(counts: Counts) -> list[tuple[str, float]]:
    """Return the metrics of one interval; a side that answered nothing has none."""
    points = [("errors", counts.errors / counts.requests)] if counts.requests else []
    p99 = counts.quantile(0.99)
    if p99 is not None:
        points += [("mean", _mean(counts)), ("p99", p99)]
    return points


def _mean(counts: Counts) -> float:
    total = sum(counts.latency)
    return sum(bound * count for bound, count in zip(LATENCY_BOUNDS, counts.latency, strict=False)) / total

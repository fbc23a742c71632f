"""Where latency are cut into bins: at stable's own quantiles, with an allowance for the candidate."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployer.judge.histogram import BUCKETS, PER_OCTAVE, Histogram, upper_edge
from deployer.judge.margin import Margin
from deployer.model import PER_OCTAVE as FINE

QUANTILES = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)  # and twice the last one
BINS = len(QUANTILES) + 2
ALLOWANCE = 1.05  # a candidate that is slower by no more than this is as good as stable


def first_fine_bucket(ms: float, *, up: bool) -> int:
    """Return the first bucket of a sample that is above `ms`, which is moved `up` or down to an edge of one."""
    place = FINE * math.log2(ms)
    nearest = round(place)
    if math.isclose(place, nearest, abs_tol=1e-9):  # an edge already: not moved by the last bit of a float
        return 1 + nearest
    return 1 + (math.ceil(place) if up else math.floor(place))


@dataclass(frozen=True)
class Cuts:
    """Cut points: as buckets of the histogram, and in ms for stable's and for the candidate's times.

    Stable's are edges of buckets. The candidate's are higher by the allowance, or by all of `Margin.add` where that is
    the larger part of what is tolerated: a service of 1 ms is allowed 6 ms, so 2 ms must be no evidence.
    """

    buckets: tuple[int, ...]
    stable: tuple[float, ...]
    candidate: tuple[float, ...]

    @classmethod
    def at_quantiles(cls, times: Histogram, margin: Margin) -> Cuts:
        """Cut where stable's quantiles are: the bucket after each begins the next bin."""
        buckets = [times.quantile(q) + 1 for q in QUANTILES]
        buckets.append(buckets[-1] + PER_OCTAVE)
        stable = [upper_edge(at - 1) if at < BUCKETS else math.inf for at in buckets]
        candidate: list[float] = []
        for edge in stable:
            by_time = edge + margin.add > margin.ratio * edge
            allowed = max(ALLOWANCE * edge, edge + margin.add if by_time else 0.0)
            candidate.append(max(allowed, candidate[-1] if candidate else 0.0))
        return cls(tuple(buckets), tuple(stable), tuple(candidate))

    def bin_of(self, bucket: int) -> int:
        """Return the bin of a bucket of the histogram."""
        return bisect_right(self.buckets, bucket)

    def stable_bin(self, ms: float) -> int:
        """Return the bin of a time of stable."""
        return bisect_right(self.stable, ms)

    def candidate_bin(self, ms: float) -> int:
        """Return the bin of a time of the candidate."""
        return bisect_right(self.candidate, ms)

    def stable_counts(self, fine: Sequence[int]) -> list[int]:
        """Return the bins of a sample's buckets, for stable."""
        return _split(fine, self.stable)

    def candidate_counts(self, fine: Sequence[int]) -> list[int]:
        """Return the bins of a sample's buckets, for the candidate: what might be below a cut counts as below."""
        return _split(fine, self.candidate)


def _split(fine: Sequence[int], cuts: Sequence[float]) -> list[int]:
    starts = [0, *(len(fine) if math.isinf(ms) else first_fine_bucket(ms, up=True) for ms in cuts), len(fine)]
    return [sum(fine[a:b]) for a, b in pairwise(starts)]

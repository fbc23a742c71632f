"""Stable's latency, fading: 16 buckets an octave, from which cut points and predictions are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import compress

from deployer.judge.rate import MEMORY
from deployer.model import PER_OCTAVE as FINE

PER_OCTAVE, BUCKETS = 16, 272  # bucket 0 is below 1 ms, bucket k from 2^((k-1)/16) to 2^(k/16) ms
_FINER = FINE // PER_OCTAVE  # buckets of a sample in one of these


def bucket(ms: float) -> int:
    """Return the bucket of a time."""
    return 0 if ms < 1 else min(BUCKETS - 1, 1 + int(PER_OCTAVE * math.log2(ms)))


def upper_edge(bucket: int) -> float:
    """Return the upper end of a bucket, in ms."""
    return float(2 ** (bucket / PER_OCTAVE))


def coarsened(fine: Sequence[int]) -> dict[int, int]:
    """Return the counts of a sample's buckets in buckets of the histogram."""
    counts: dict[int, int] = {}
    for at in compress(range(len(fine)), fine):
        wide = min(BUCKETS - 1, (at + _FINER - 1) // _FINER)
        counts[wide] = counts.get(wide, 0) + fine[at]
    return counts


class Histogram:
    """Counts by bucket; `total` is their sum."""

    def __init__(self) -> None:
        self.counts = [0.0] * BUCKETS
        self.total = 0.0

    def add(self, bucket: int, count: int = 1) -> None:
        """Add times of one bucket."""
        self.counts[bucket] += count
        self.total += count

    def fade(self) -> None:
        """Let the past be worth half, and again, until it is worth no more than the memory holds."""
        while self.total > MEMORY:
            self.counts = [count / 2 for count in self.counts]
            self.total /= 2

    def quantile(self, q: float) -> int:
        """Return the first bucket whose cumulative share reaches q."""
        wanted, below = q * self.total, 0.0
        for at, count in enumerate(self.counts):
            below += count
            if below >= wanted and below > 0:
                return at
        return BUCKETS - 1

    def part_above(self, ms: float) -> float:
        """Return the part that is slower than `ms`; inside a bucket, times are spread evenly on a logarithmic scale."""
        if ms < 1:
            return 1.0
        place = PER_OCTAVE * math.log2(ms) + 1
        at = min(BUCKETS - 1, int(place))
        return (sum(self.counts[at + 1 :]) + (1 - (place - at)) * self.counts[at]) / self.total

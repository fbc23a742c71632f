"""Random numbers that a stream of requests is made of, exact in their distribution and quick without numpy."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from random import Random
from statistics import NormalDist

from deployer.model import PER_OCTAVE, latency_bucket

_FINE = 10  # slots per expected arrival: so many make the binomial nearly a Poisson
_VALUES = 4000  # equally likely answer times that stand for a distribution
_TAIL = 10.0  # times slower are the requests of a tail


def binomial(dice: Random, n: int, p: float) -> int:
    """Draw how many of `n` coins fall on a side of probability `p`.

    Compares n uniform numbers with p digit by digit, all at once: after each binary digit about half of them are
    decided. Doubling a float is exact, and so is this.
    """
    hits = 0
    while n and p > 0:
        p *= 2
        ones = dice.getrandbits(n).bit_count()
        if p >= 1:  # a digit 1 of p: who drew 0 is below it
            p, hits, n = p - 1, hits + n - ones, ones
        else:  # a digit 0: who drew 1 is above it
            n -= ones
    return hits


def arrivals(dice: Random, expected: float) -> int:
    """Draw how many independent requests arrive when so many are expected."""
    slots = max(_FINE, math.ceil(_FINE * expected))
    return binomial(dice, slots, expected / slots)


class Latencies:
    """A distribution of answer times, as equally likely values in milliseconds."""

    def __init__(self, values: Iterable[float], tail: float = 0.0) -> None:
        self.values = tuple(values)
        self._tail = tail
        self._usual = [latency_bucket(ms) for ms in self.values]
        self._slow = [latency_bucket(_TAIL * ms) for ms in self.values]

    @classmethod
    def lognormal(cls, median: float, sigma: float) -> Latencies:
        """Make those of a usual service: `median` in milliseconds, `sigma` of the logarithm."""
        normal = NormalDist(math.log(median), sigma)
        return cls(math.exp(normal.inv_cdf((k + 0.5) / _VALUES)) for k in range(_VALUES))

    def slowed(self, factor: float = 1.0, add: float = 0.0, tail: float = 0.0) -> Latencies:
        """Return those of a service that needs `factor` times as long and at least `add` ms more if `add` is given.

        The part `tail` of its answers takes ten times as long on top.
        """
        return Latencies((max(factor * ms, ms + add) for ms in self.values), tail)

    def draw(self, dice: Random, n: int, pace: float = 1.0) -> tuple[tuple[int, ...], int]:
        """Draw the answer times of `n` requests: counts per `latency_bucket`, and how many are of the tail.

        `pace` (1 or more) is how many times slower than usual everything is now, to the next bucket.
        """
        slow = binomial(dice, n, self._tail)
        seen = Counter(dice.choices(self._usual, k=n - slow))
        seen.update(dice.choices(self._slow, k=slow))
        return (0,) * _later(pace) + histogram(seen), slow

    def one(self, dice: Random, pace: float = 1.0) -> int:
        """Draw the bucket of one answer."""
        return dice.choice(self._slow if self._tail and dice.random() < self._tail else self._usual) + _later(pace)


def _later(pace: float) -> int:
    return round(PER_OCTAVE * math.log2(pace))


def histogram(seen: Counter[int]) -> tuple[int, ...]:
    """Return counts by bucket as `Counts.latency` holds them."""
    counts = [0] * (max(seen, default=-1) + 1)
    for bucket, count in seen.items():
        counts[bucket] = count
    return tuple(counts)

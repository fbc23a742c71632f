"""What the proxy's reader makes of the answers to clients that keep their side.

Written from its rule alone, not from the code of `deployer`, so that each checks the other.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from bench.traffic.draws import histogram
from deployer.model import FULL, Coins, Counts, Sample

ROLLS = 1_000_000  # rolls that a client's cookie may hold
PER_BP = ROLLS // FULL


@dataclass(frozen=True)
class Answer:
    """One answer to a client of that roll; `bucket` as `latency_bucket` gives it, None for an error."""

    roll: int
    bucket: int | None


@dataclass
class Side:
    """One side's counts while they grow."""

    requests: int = 0
    errors: int = 0
    times: Counter[int] = field(default_factory=Counter)

    def add(self, bucket: int | None) -> None:
        """Count one answer."""
        self.requests += 1
        if bucket is None:
            self.errors += 1
        else:
            self.times[bucket] += 1

    def counts(self) -> Counts:
        """Return the counts."""
        return Counts(self.requests, self.errors, histogram(self.times))


class Pair:
    """Both sides, and the clients of each that failed for the first time."""

    def __init__(self) -> None:
        self.sides = Side(), Side()
        self.first_errors = [0, 0]


class Reader:
    """Knows which answers were coins: those of clients whose side was not known from a former answer.

    A client that was on stable under `lower`, the highest share it was seen under, falls on the candidate at a share of
    s with the probability (s - lower) / (10000 - lower); one that was on the candidate stays there and is no coin.
    """

    def __init__(self) -> None:
        self._highest: dict[int, int] = {}
        self._failed: set[int] = set()
        self._sides = Side(), Side()
        self._coins: dict[float, Pair] = {}

    def read(self, answer: Answer, share: int) -> bool:
        """Count one answer under a share that never falls; return whether it was the candidate's."""
        candidate = answer.roll < share * PER_BP
        self._sides[candidate].add(answer.bucket)
        lower = self._highest.get(answer.roll, 0)
        if lower < share:
            self._highest[answer.roll] = share
            if answer.roll >= lower * PER_BP and share < FULL:
                self._pair((share - lower) / (FULL - lower)).sides[candidate].add(answer.bucket)
        if answer.bucket is None and answer.roll not in self._failed and 0 < share < FULL:
            self._failed.add(answer.roll)
            self._pair(share / FULL).first_errors[candidate] += 1
        return candidate

    def _pair(self, p: float) -> Pair:
        return self._coins.setdefault(p, Pair())

    def take(self, share: int) -> Sample:
        """Return what was read since the last call."""
        stable, candidate = (side.counts() for side in self._sides)
        coins = tuple(_coins(p, self._coins[p]) for p in sorted(self._coins))
        self._sides, self._coins = (Side(), Side()), {}
        return Sample(stable, candidate, share, coins=coins)


def _coins(p: float, pair: Pair) -> Coins:
    stable, candidate = (side.counts() for side in pair.sides)
    return Coins(p, stable, candidate, (pair.first_errors[0], pair.first_errors[1]))

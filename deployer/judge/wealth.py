"""The purse of a bettor against "nothing is wrong".

Each bet is fair or worse for the bettor while nothing is wrong, so the wealth, which starts at 1, ever reaches 1/alpha
with a probability of at most alpha (Ville's inequality). One may look after every request, for ever. Who bets on
several sizes of the effect splits the purse; the parts sum up to a wealth of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

# This part of the wealth bets from the first request on. The rest waits and is put in every RESTART seconds, so that a
# fault that begins late need not first win back what was lost before it: a mixture over starting times, still 1 in sum.
AT_ONCE = 0.7
RESTART = 30.0
_HALVING = 20.0  # restarts after which the reserve has shrunk by 1/sqrt(2)


def reserve(restarts: int) -> float:
    """Give the wealth that still waits after so many restarts."""
    return (1 - AT_ONCE) / math.sqrt(1 + restarts / _HALVING)


def log_add(a: float, b: float) -> float:
    """Give log(exp(a) + exp(b)) without overflow."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))


@dataclass(frozen=True)
class Wealth:
    """Wealth of one bettor per size of effect, as natural logarithms; `began` is the time of the first look."""

    weights: tuple[float, ...]
    logs: tuple[float, ...]
    began: float | None = None
    restarts: int = 0

    @classmethod
    def split(cls, weights: Sequence[float]) -> Wealth:
        """Start with the purse split by these weights, which sum up to 1."""
        return cls(tuple(weights), (math.log(AT_ONCE),) * len(weights))

    def won(self, gains: Sequence[float]) -> Wealth:
        """Give the wealth after bets whose log factors these are, one per bettor."""
        return replace(self, logs=tuple(log + gain for log, gain in zip(self.logs, gains, strict=True)))

    def at(self, now: float) -> Wealth:
        """Give the wealth with the reserve that is due by `now`, in seconds of any clock."""
        if self.began is None:
            return replace(self, began=now)
        due = int((now - self.began) / RESTART)
        if due <= self.restarts:  # also when the clock was set back
            return self
        # Restarts between which nothing was bet are one: their parts telescope.
        more = math.log(reserve(self.restarts) - reserve(due))
        return replace(self, logs=tuple(log_add(log, more) for log in self.logs), restarts=due)

    @property
    def log(self) -> float:
        """The natural logarithm of the whole wealth."""
        terms = [math.log(weight) + log for weight, log in zip(self.weights, self.logs, strict=True)]
        high = max(terms)
        return high + math.log(sum(math.exp(term - high) for term in terms))

"""The purse of a bettor against a statement, such as "the candidate is not worse".

Each bet is fair or worse for the bettor while the statement holds, so the wealth, which starts at 1, ever reaches
1/alpha with a probability of at most alpha (Ville's inequality). One may look after every request, for ever. Who bets
on several sizes of the effect splits the purse; the parts sum up to a wealth of the same kind.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

# This part of the wealth bets from the first request on. The rest waits and is put in every RESTART seconds, so that a
# fault that begins late need not first win back what was lost before it: a mixture over starting times, still 1 in sum.
AT_ONCE = 0.7
RESTART = 30.0
_HALVING = 20.0  # restarts after which the reserve has shrunk by 1/sqrt(2)


def reserve(restarts: int) -> float:
    """Return the wealth that still waits after so many restarts."""
    return (1 - AT_ONCE) / math.sqrt(1 + restarts / _HALVING)


def log_add(a: float, b: float) -> float:
    """Return log(exp(a) + exp(b)) without overflow."""
    high, low = max(a, b), min(a, b)
    return high + math.log1p(math.exp(low - high))


def log_sum(logs: Sequence[float]) -> float:
    """Return the logarithm of the sum of numbers that are given as logarithms."""
    high = max(logs)
    return high + math.log(sum(math.exp(log - high) for log in logs))


class Wealth:
    """Wealth of one bettor per size of effect, which are natural logarithms; `weights` sum up to 1.

    With a reserve it begins at less than 1 and gets the rest over time, see `at`; without, all of it bets from the
    start.
    """

    def __init__(self, weights: Sequence[float], *, with_reserve: bool = True) -> None:
        self._shares = tuple(math.log(weight) for weight in weights)
        self._logs = [math.log(AT_ONCE) if with_reserve else 0.0] * len(weights)
        self._began: float | None = None
        self._restarts = 0

    def win(self, gains: Iterable[float]) -> None:
        """Settle bets whose log factors these are, one per bettor."""
        self._logs = [log + gain for log, gain in zip(self._logs, gains, strict=True)]

    def at(self, now: float) -> None:
        """Put in the reserve that is due by `now`, in seconds of any clock; the first call begins."""
        if self._began is None:
            self._began = now
        due = int((now - self._began) / RESTART)
        if due <= self._restarts:  # also when the clock was set back
            return
        # Restarts between which nothing was bet are one: their parts telescope.
        more = math.log(reserve(self._restarts) - reserve(due))
        self._logs = [log_add(log, more) for log in self._logs]
        self._restarts = due

    @property
    def log(self) -> float:
        """The natural logarithm of the whole wealth."""
        return log_sum([share + log for share, log in zip(self._shares, self._logs, strict=True)])

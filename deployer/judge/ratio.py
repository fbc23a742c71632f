"""How many times as often the candidate fails: an interval for people, right at every look."""

from __future__ import annotations

import math

from deployer.judge.wealth import log_sum

_GRID = tuple(2 ** (k / 8) for k in range(-48, 81))  # 1/64 to 1024
_LEVEL = 0.05  # probability that the interval ever misses the true ratio


class RatioSequence:
    """Ratio of the candidate's error rate to stable's, for small rates, from the sides of the errors alone.

    An error is the candidate's with probability p r / (1 - p + p r), where r is the ratio, whatever the share was.
    Ratios stay in the interval until the evidence against them is 1 / 0.05; it never leaves the true one out in more
    than 5 of 100 rollouts, however often it is looked at.
    """

    def __init__(self) -> None:
        self._logs = [0.0] * len(_GRID)

    def add(self, p: float, stable_errors: int, candidate_errors: int) -> None:
        """Add errors that were sent by a coin with `p`."""
        if not stable_errors and not candidate_errors:
            return
        for at, ratio in enumerate(_GRID):
            either = 1 - p + p * ratio
            self._logs[at] += candidate_errors * math.log(p * ratio / either) + stable_errors * math.log(
                (1 - p) / either
            )

    def interval(self) -> tuple[float, float]:
        """Return the lowest and the highest ratio that fit; the ends of the grid (1/64, 1024) mean "or beyond"."""
        cut = log_sum(self._logs) - math.log(len(_GRID)) + math.log(_LEVEL)
        inside = [ratio for ratio, log in zip(_GRID, self._logs, strict=True) if log > cut]
        return inside[0], inside[-1]

"""Do more requests wait for the candidate than chance allows? What never ends is in no count of responses.

What is in flight at one moment was sent by the coin, each for itself: if the candidate is as quick as stable, its part
is binomial. The likelihood ratio of a reading is then a bet with a mean of 1 at most. The sum of all of them, with
weights that sum up to 1, has a mean of 1 at most as well and never falls, however readings depend on one another; and
they do, since what hangs is there in all of them. Long requests from before a larger share are stable's: no harm.
"""

from __future__ import annotations

import math

from deployer.judge.excess import Excess
from deployer.judge.margin import Margin
from deployer.judge.wealth import log_add, log_sum
from deployer.model import Waiting

ODDS = (3.0, 10.0, 100.0)  # of being the candidate's, as multiples of what the coin says
LEAST = 3.0  # requests more than stable's part that say nothing
CLEARLY = 2.0  # standard deviations
VALID = 3.0  # seconds that a reading says something about now
FOR = 0.2  # of the part of the purse for responses


class WaitingEvidence:
    """Evidence that more requests wait for the candidate; `ratio` is how many times stable's may."""

    def __init__(self, ratio: float) -> None:
        self._margin = Margin(ratio, LEAST)
        self.log_evidence = -math.inf
        self._readings = 0
        self._last: Waiting | None = None
        self._at = 0.0

    def read(self, waiting: Waiting, at: float, *, bets: bool) -> None:
        """Take a reading; `at` in seconds of a clock that does not go back. Without `bets` it is no evidence."""
        self._last, self._at = waiting, at
        if not bets or not 0 < waiting.p < 1:
            return
        self._readings += 1
        ratios = [_log_ratio(waiting, odds) - math.log(len(ODDS)) for odds in ODDS]
        weight = -math.log(self._readings * (self._readings + 1))
        self.log_evidence = log_add(self.log_evidence, weight + log_sum(ratios))

    def beyond(self, now: float) -> Waiting | None:
        """Return the last reading if clearly more wait for the candidate than the margin allows."""
        last = self._last
        if last is None or now - self._at > VALID or not 0 < last.p < 1:
            return None
        return last if self._beside(last).beyond(self._margin, CLEARLY) else None

    def allowed(self, waiting: Waiting) -> float:
        """Return how many requests may wait for the candidate."""
        return self._margin.of(self._beside(waiting).part)

    def _beside(self, waiting: Waiting) -> Excess:
        part = waiting.stable * waiting.p / (1 - waiting.p)
        return Excess(waiting.candidate, waiting.stable, part, 1)


def _log_ratio(waiting: Waiting, odds: float) -> float:
    """Return the logarithm of how much likelier a reading is if the candidate's odds are so many times the coin's."""
    whole = 1 - waiting.p + odds * waiting.p
    return waiting.candidate * math.log(odds / whole) - waiting.stable * math.log(whole)

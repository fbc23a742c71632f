"""Does a release that stands alone fail more often than the manifest allows at all?

At a share of 100%, or where no stable release answers, there is nothing to compare with; what remains is the absolute
limit. The bets are those of a comparison, against a fixed rate: fair when the release fails exactly as often as the
limit says, losing when it fails less.
"""

from __future__ import annotations

import math

from deployer.judge.bets import times_odds
from deployer.judge.errors import ODDS, WEIGHTS
from deployer.judge.wealth import Wealth
from deployer.model import Counts

_ABOVE = ODDS[1:]  # a bet on the limit itself would neither win nor lose
_PARTS = tuple(weight / sum(WEIGHTS[1:]) for weight in WEIGHTS[1:])
_LOWEST = 1e-12  # the limit 0 means that the first error is too many


class AbsoluteGuard:
    """Evidence that errors are more frequent than `limit` (a fraction); a limit of 1 is never exceeded."""

    def __init__(self, limit: float) -> None:
        self._wealth = Wealth(_PARTS)
        self._bets: list[tuple[float, float]] = []
        if limit < 1:
            limit = max(limit, _LOWEST)
            worse = [times_odds(limit, factor) for factor in _ABOVE]
            self._bets = [(math.log((1 - rate) / (1 - limit)), math.log(rate / limit)) for rate in worse]

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence; at log(1/alpha) the limit is exceeded, with error probability alpha."""
        return self._wealth.log

    def add(self, seen: Counts) -> None:
        """Add what the release answered."""
        if self._bets:
            self._wealth.win((seen.requests - seen.errors) * ok + seen.errors * error for ok, error in self._bets)

    def at(self, now: float) -> None:
        """Let time go by, in seconds."""
        self._wealth.at(now)

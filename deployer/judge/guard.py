"""Does a release that stands alone fail more often than the manifest allows at all?

At a share of 100 %, or where no stable release answers, there is nothing to compare with; what remains is the absolute
limit. The bets are those of a comparison, against a fixed rate: fair when the release fails exactly as often as the
limit says, losing when it fails less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from deployer.judge.bets import ODDS, WEIGHTS, times_odds
from deployer.judge.wealth import Wealth
from deployer.model import Counts

_ABOVE = ODDS[1:]  # a bet on the limit itself would neither win nor lose
_PARTS = tuple(weight / sum(WEIGHTS[1:]) for weight in WEIGHTS[1:])
_LOWEST = 1e-12  # the limit 0 means that the first error is too many


@dataclass(frozen=True)
class AbsoluteGuard:
    """Evidence that errors are more frequent than `limit` (a fraction); a limit of 1 is never exceeded."""

    limit: float = 0.1
    wealth: Wealth = field(default_factory=lambda: Wealth.split(_PARTS))

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence; at log(1/alpha) the limit is exceeded, with error probability alpha."""
        return self.wealth.log

    def after(self, seen: Counts, at: float) -> AbsoluteGuard:
        """Give the guard after the release answered so much; `at` in seconds."""
        if self.limit >= 1:
            return self
        limit = max(self.limit, _LOWEST)
        gains = []
        for factor in _ABOVE:
            worse = times_odds(limit, factor)
            ok, error = math.log((1 - worse) / (1 - limit)), math.log(worse / limit)
            gains.append((seen.requests - seen.errors) * ok + seen.errors * error)
        return replace(self, wealth=self.wealth.won(gains).at(at))

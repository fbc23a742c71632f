"""Is the whole service in trouble, whoever may be to blame?

A candidate that harms what stable needs too, such as a shared database, makes both fail, and no comparison sees it. It
is no reason to go back, but none to give it more users.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from deployer.judge.totals import Rolling
from deployer.model import Counts

MOMENT = 10.0  # seconds: a moment ago goes back so far, or up to twice as far
CLEARLY = 3.0  # standard deviations


class ServiceErrors:
    """What all sides of the service answered a moment ago; `limit` is the part of it that may fail."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._moment = Rolling(MOMENT)

    def add(self, sides: Sequence[Counts], now: float) -> None:
        """Add what they answered since the last look; `now` in seconds of a clock that does not go back."""
        self._moment.at(now)
        answered = Counts(sum(side.requests for side in sides), sum(side.errors for side in sides))
        self._moment.new.add(answered, Counts())

    @property
    def trouble(self) -> Counts | None:
        """What was answered a moment ago, if clearly more of it failed than the limit allows."""
        seen = self._moment.all.stable
        allowed = self._limit * seen.requests
        return seen if seen.errors > allowed + CLEARLY * math.sqrt(allowed) else None

"""The budget of a drive: how many failed responses of the candidate users may see, and how many they saw."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deployer.core.errors import BudgetSpent
from deployer.model import Live

if TYPE_CHECKING:
    from deployer.core.events import Tell
    from deployer.drivers.ports import Traffic
    from deployer.manifest.traffic import Budget


class BudgetTracker:
    """What the proxy is told as a limit, and what it has counted against it; the proxy alone enforces it.

    The limit is the budget and, above it, the errors that the margin allows for what the candidate answered so far
    (`tolerated`): a long rollout of a service with its usual errors does not run dry. `limit` is what was written last;
    0 while no user is on the candidate, and for a service without a budget.
    """

    def __init__(self, budget: Budget | None, traffic: Traffic, service: str, tell: Tell) -> None:
        self._answers = budget.answers if budget else 0
        self._granted_before = 0
        self._traffic, self._service, self._tell = traffic, service, tell
        self.tolerated = 0.0
        self.limit = 0
        self.spent = 0
        self._told = False

    @property
    def grant(self) -> int:
        """The limit to write now."""
        if not self._answers:
            return 0
        return max(self._answers, self._granted_before) + math.floor(self.tolerated)

    @property
    def behind(self) -> bool:
        """Return whether the written limit is so far behind that it is worth a write before the next renewal."""
        return bool(self.limit) and self.grant - self.limit >= max(1, self._answers // 5)

    def adopt(self, live: Live) -> None:
        """Go on from the limit that an earlier drive of this rollout had come to; the proxy's count goes on too."""
        self._granted_before, self.limit = live.budget, live.budget

    @property
    def over(self) -> bool:
        """Read what was spent, and tell whether it is all there was."""
        self.spent = self._traffic.spent(self._service) if self.limit else 0
        return bool(self.limit) and self.spent >= self.limit

    def tell_over(self) -> bool:
        """Report, once in a drive, that all is spent; return whether it is."""
        over = self.over
        if over and not self._told:
            self._told = True
            self._tell("budget.spent", spent=self.spent, limit=self.limit)
        return over

    def check(self, release: str, answered: int) -> None:
        """Raise BudgetSpent once the proxy has stopped, or is about to stop, to give the candidate users."""
        if not self.tell_over():
            return
        more = self.limit - self._answers
        allowed = f" ({self._answers}, and {more:,} that the margin allows)" if more > 0 else ""
        among = f" in {answered:,} responses" if answered >= self.spent else ""  # the stream may lag behind the count
        raise BudgetSpent(
            f"the budget of {self.limit:,} failed responses{allowed} is spent:"
            f" users saw {self.spent:,} of {release}{among}",
            "fix it and deploy again; traffic.budget sets how many failed responses users may see",
        )

"""How many errors the margin allows a candidate: what a budget grows by."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.model import Counts

_NOTHING = Counts()


@dataclass
class Allowance:
    """Errors that the margin allows for what the candidate answered, over all steps.

    Within a step both sides are sent by the same coin, so the candidate may have had its part of stable's errors, times
    the margin: an outage that hits both raises what is allowed. Steps are summed up, since the share changes between.
    """

    ratio: float
    add: float
    limit: float
    _of_steps: float = 0.0
    _stable: Counts = _NOTHING
    _candidate: Counts = _NOTHING

    def answer(self, stable: Counts, candidate: Counts) -> None:
        """Add what was answered in this step."""
        self._stable += Counts(stable.requests, stable.errors)
        self._candidate += Counts(candidate.requests, candidate.errors)

    def begin(self, rate: float | None) -> None:
        """Begin another step; `rate` is what stable's is held to be, None if it never answered."""
        self._of_steps = self.errors(rate)
        self._stable, self._candidate = Counts(), Counts()

    def errors(self, rate: float | None) -> float:
        """Return the number so far. Where stable has no responses, its known rate counts, else the absolute limit."""
        if self._stable.requests:
            rate = self._stable.errors / self._stable.requests
        allowed = self.limit if rate is None else max(self.ratio * rate, rate + self.add)
        return self._of_steps + allowed * self._candidate.requests

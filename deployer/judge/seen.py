"""What both sides answered, for the sentences and numbers of a verdict, and whether the margins cover it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from deployer.judge.margin import Margin
from deployer.model import Counts

_NOTHING = Counts()


@dataclass
class Seen:
    """Answers of both sides while they could be compared, and clients of each that saw an error."""

    stable: Counts = _NOTHING
    candidate: Counts = _NOTHING
    failed: tuple[int, int] = (0, 0)

    def add(self, stable: Counts, candidate: Counts, *, timed: bool = True) -> None:
        """Add answers; with their times only if they are `timed`, that is after the warm-up."""
        if not timed:
            stable, candidate = Counts(stable.requests, stable.errors), Counts(candidate.requests, candidate.errors)
        self.stable += stable
        self.candidate += candidate

    def fails_beyond(self, margin: Margin) -> bool:
        """Tell whether the candidate failed more often than the margin allows beside what stable did.

        Where only the first answer of a client is known, clients that failed later count as well.
        """
        stable = max(self.stable.errors, self.failed[0])
        candidate = max(self.candidate.errors, self.failed[1])
        rate = stable / self.stable.requests if self.stable.requests else 0.0
        return candidate > margin.of(rate) * self.candidate.requests

    def slower_beyond(self, margin: Margin, names: Sequence[str]) -> bool:
        """Tell whether a quantile of these names is further from stable's than the margin (in ms) allows."""
        for name in names:
            q = float(name[1:]) / 100
            stable, candidate = self.stable.quantile(q), self.candidate.quantile(q)
            if stable is not None and candidate is not None and candidate > margin.of(stable):
                return True
        return False

    def add_failed(self, clients: tuple[int, int]) -> None:
        """Add clients of stable and of the candidate that failed for the first time."""
        self.failed = (self.failed[0] + clients[0], self.failed[1] + clients[1])


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
        """Give the number so far. Where stable answered nothing, its known rate counts, else the absolute limit."""
        if self._stable.requests:
            rate = self._stable.errors / self._stable.requests
        allowed = self.limit if rate is None else max(self.ratio * rate, rate + self.add)
        return self._of_steps + allowed * self._candidate.requests

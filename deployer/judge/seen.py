"""What both sides answered, for the sentences and numbers of a verdict, and whether the margins cover it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.judge.margin import Margin
from deployer.model import Counts

_NOTHING = Counts()
RECENT = 30.0  # seconds: what is called recent goes back so far, or up to twice as far
_CLEARLY = 3.0  # standard deviations


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

    def fails_beyond(self, margin: Margin, deviations: float = 0.0) -> bool:
        """Tell whether the candidate failed more often than the margin allows beside what stable did.

        With `deviations` by so many standard deviations of a number that is as large as allowed: few answers can say it
        then. Where only the first answer of a client is known, clients that failed later count as well.
        """
        stable = max(self.stable.errors, self.failed[0])
        candidate = max(self.candidate.errors, self.failed[1])
        rate = stable / self.stable.requests if self.stable.requests else 0.0
        allowed = margin.of(rate) * self.candidate.requests
        return candidate > allowed + deviations * math.sqrt(allowed)

    def slower_beyond(self, margin: Margin, names: Sequence[str], deviations: float = 0.0) -> bool:
        """Tell whether a quantile of these names is further from stable's than the margin (in ms) allows.

        With `deviations` even if both quantiles are off by so many standard deviations, to the candidate's good.
        """
        return any(self._slower_at(float(name[1:]) / 100, margin, deviations) for name in names)

    def _slower_at(self, q: float, margin: Margin, deviations: float) -> bool:
        (stable_answers, candidate_answers) = sum(self.stable.latency), sum(self.candidate.latency)
        if not (stable_answers and candidate_answers):
            return False
        high = q + deviations * math.sqrt(q * (1 - q) / stable_answers)
        low = q - deviations * math.sqrt(q * (1 - q) / candidate_answers)
        if low <= 0 or high >= 1:
            return False
        stable, candidate = self.stable.quantile(high), self.candidate.quantile(low)
        return stable is not None and candidate is not None and candidate > margin.of(stable)

    def add_failed(self, clients: tuple[int, int]) -> None:
        """Add clients of stable and of the candidate that failed for the first time."""
        self.failed = (self.failed[0] + clients[0], self.failed[1] + clients[1])


class Watched:
    """What both sides answered in the whole rollout, and what of it is recent: a good hour excuses no bad minute."""

    def __init__(self) -> None:
        self.whole = Seen()
        self._new, self._old = Seen(), Seen()
        self._since: float | None = None

    def at(self, now: float) -> None:
        """Let time go by; `now` in seconds of a clock that does not go back."""
        if self._since is None:
            self._since = now
        elif now - self._since >= RECENT:
            self._old = self._new if now - self._since < 2 * RECENT else Seen()
            self._new, self._since = Seen(), now

    def add(self, stable: Counts, candidate: Counts, *, timed: bool = True) -> None:
        """Add answers; with their times only if they are `timed`, that is after the warm-up."""
        self.whole.add(stable, candidate, timed=timed)
        self._new.add(stable, candidate, timed=timed)

    def add_failed(self, clients: tuple[int, int]) -> None:
        """Add clients of stable and of the candidate that failed for the first time."""
        self.whole.add_failed(clients)
        self._new.add_failed(clients)

    def fails_beyond(self, margin: Margin) -> Seen | None:
        """Give what shows that the candidate failed more often than the margin allows; None if nothing does.

        That is all of it, or what is recent if it shows it clearly.
        """
        if self.whole.fails_beyond(margin):
            return self.whole
        recent = self.recent
        return recent if recent.fails_beyond(margin, deviations=_CLEARLY) else None

    def slower_beyond(self, margin: Margin, names: Sequence[str]) -> Seen | None:
        """Give what shows that a quantile of the candidate is beyond the margin (in ms); None if nothing does."""
        if self.whole.slower_beyond(margin, names):
            return self.whole
        recent = self.recent
        return recent if recent.slower_beyond(margin, names, deviations=_CLEARLY) else None

    @property
    def recent(self) -> Seen:
        """What was answered in the last minute at most."""
        recent = Seen()
        for part in (self._old, self._new):
            recent.add(part.stable, part.candidate)
            recent.add_failed(part.failed)
        return recent


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

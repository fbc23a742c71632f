"""What both sides answered, for the sentences and numbers of a verdict."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace

from deployer.core.response_kinds import Feature
from deployer.judge.excess import Excess
from deployer.judge.margin import Margin
from deployer.model import LATENCY_BOUNDS, Coins, Counts

_NOTHING = Counts()


@dataclass
class ClientTotals:
    """Clients that keep their side, and failed for the first time: those of stable and of the candidate.

    `expected` is the candidate's part of stable's: so many would have failed on it if both were alike. `thrown` are
    clients of the candidate whose first answer was seen.
    """

    failed: tuple[int, int] = (0, 0)
    expected: float = 0.0
    thrown: int = 0

    def add(self, coins: Coins) -> None:
        """Add what a coin sent."""
        stable, candidate = coins.first_errors
        self.failed = (self.failed[0] + stable, self.failed[1] + candidate)
        self.expected += stable * coins.p / (1 - coins.p)
        self.thrown += coins.candidate.requests

    def merge(self, more: ClientTotals) -> None:
        """Add others."""
        self.failed = (self.failed[0] + more.failed[0], self.failed[1] + more.failed[1])
        self.expected += more.expected
        self.thrown += more.thrown


@dataclass
class Totals:
    """Answers of both sides while they could be compared, and clients of each that saw an error."""

    stable: Counts = _NOTHING
    candidate: Counts = _NOTHING
    clients: ClientTotals = field(default_factory=ClientTotals)

    def add(self, stable: Counts, candidate: Counts, *, timed: bool = True) -> None:
        """Add answers; with their times only if they are `timed`, that is after the warm-up."""
        if not timed:
            stable, candidate = replace(stable, latency=()), replace(candidate, latency=())
        self.stable += stable
        self.candidate += candidate

    @property
    def errors(self) -> Excess:
        """Answers that failed."""
        stable, candidate = self.stable, self.candidate
        part = stable.errors * candidate.requests / stable.requests if stable.requests else 0.0
        return Excess(candidate.errors, stable.errors, part, candidate.requests)

    def having(self, feature: Feature) -> Excess:
        """Good answers that have a feature."""
        stable, candidate = self.stable, self.candidate
        of_stable, of_candidate = feature.counts(stable.kinds, candidate.kinds)
        good, all_good = candidate.requests - candidate.errors, stable.requests - stable.errors
        if feature.unanswered:
            good, all_good = good + of_candidate, all_good + of_stable
        return Excess(of_candidate, of_stable, of_stable * good / all_good if all_good else 0.0, good)

    @property
    def failing(self) -> Excess:
        """Clients that failed: where a client keeps its side, one that fails again and again says little of a side."""
        clients = self.clients
        return Excess(clients.failed[1], clients.failed[0], clients.expected, clients.thrown)

    def slow(self, q: float, margin: Margin) -> Excess:
        """Answers of the candidate beyond the margin (in ms) of stable's quantile, beside those of stable above it."""
        quantile, answers = self.stable.quantile(q), sum(self.candidate.latency)
        if quantile is None:
            return Excess()
        slow = sum(self.candidate.latency[bisect_right(LATENCY_BOUNDS, margin.of(quantile)) :])
        return Excess(slow, (1 - q) * sum(self.stable.latency), (1 - q) * answers, answers)


class Rolling:
    """What was answered in the last `seconds`, or up to twice as long, in constant memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self.new, self._old = Totals(), Totals()
        self._since: float | None = None

    def at(self, now: float) -> None:
        """Let time go by; `now` in seconds of a clock that does not go back."""
        if self._since is None:
            self._since = now
        elif (gone := now - self._since) >= self._seconds:
            self._old = self.new if gone < 2 * self._seconds else Totals()
            self.new, self._since = Totals(), now

    @property
    def all(self) -> Totals:
        """Return all of it as one."""
        both = Totals()
        for part in (self._old, self.new):
            both.add(part.stable, part.candidate)
            both.clients.merge(part.clients)
        return both

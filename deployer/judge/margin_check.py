"""Whether the margins of the manifest cover what was seen: in the rollout, in its step, in the last minute.

Evidence grows while the sides differ at all, the faster the wider the margin that they are told apart by; what a margin
covers is no reason to go back. These are no tests: an alarm that waits for them is right no less often.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from deployer.core.response_kinds import FEATURES, Feature
from deployer.judge.excess import Excess
from deployer.judge.margin import Margin
from deployer.judge.totals import Rolling, Totals
from deployer.model import Coins, Counts

RECENT = 30.0  # seconds: the last minute goes back so far, or up to twice as far
# So many standard deviations must what was seen lie beyond a margin. Evidence of times is of all of them, so that one
# quantile need not be as clear; a minute is one of many.
ERRORS, TIMES, MINUTE = 2.0, 1.0, 3.0
LEAST_SLOW = 3  # answers: with fewer of them a quantile says nothing

When = Literal["rollout", "step", "minute"]


@dataclass(frozen=True)
class Shows:
    """What was seen that lies beyond a margin, and when."""

    seen: Totals
    when: When
    first: bool = False  # it is first responses of clients


class MarginCheck:
    """What both sides answered, held against the margins: of errors, and of times (in ms) at some quantiles."""

    def __init__(
        self,
        errors: Margin,
        responses: Margin | None = None,
        times: Margin | None = None,
        quantiles: Sequence[float] = (),
        first: MarginCheck | None = None,  # of the first responses of clients that keep their side
    ) -> None:
        self.whole, self.step, self._recent = Totals(), Totals(), Rolling(RECENT)
        self._first = first
        self._errors = _Held((_answers, _clients), errors, ERRORS)
        slow = [partial(_slow, q=q, margin=times) for q in quantiles] if times else []
        self._times = _Held(slow, Margin(1.0, 0.0), TIMES, least=LEAST_SLOW)
        self._mix: dict[Feature, _Held] = {}
        if responses:
            self._mix = {each: _Held((partial(_having, feature=each),), responses, ERRORS) for each in FEATURES}

    def begin(self) -> None:
        """Begin another step."""
        for held in (self._errors, self._times, *self._mix.values()):
            held.keep(self.step)
        self.step = Totals()
        if self._first:
            self._first.begin()

    def at(self, now: float) -> None:
        """Let time go by; `now` in seconds of a clock that does not go back."""
        self._recent.at(now)
        if self._first:
            self._first.at(now)

    def add(self, stable: Counts, candidate: Counts, *, timed: bool = True) -> None:
        """Add answers; with their times only if they are `timed`, that is after the warm-up."""
        for seen in (self.whole, self.step, self._recent.new):
            seen.add(stable, candidate, timed=timed)

    def add_clients(self, thrown: Sequence[Coins]) -> None:
        """Add clients that keep their side, as their coins tell of them."""
        if self._first:
            self._first.add_coins([coins for coins in thrown if 0 < coins.p < 1], sticky=False)
        for seen in (self.whole, self.step, self._recent.new):
            for coins in thrown:
                if 0 < coins.p < 1:
                    seen.clients.add(coins)

    def add_coins(self, thrown: Sequence[Coins], *, sticky: bool) -> None:
        """Add what is known of a route: what its coins sent."""
        for coins in thrown:
            self.add(coins.stable, coins.candidate, timed=False)
        if sticky:
            self.add_clients(thrown)

    @property
    def fails(self) -> Shows | None:
        """What shows that the candidate fails more often than the margin allows; None if nothing does."""
        return self._errors.beyond(self.whole, self.step, self._recent.all)

    def differs(self, feature: Feature) -> Shows | None:
        """Return what shows that the candidate has more of a feature than the margin allows; None if nothing does."""
        found = self._mix[feature].beyond(self.whole, self.step, self._recent.all)
        if found or not self._first:
            return found
        first = self._first.differs(feature)
        return replace(first, first=True) if first else None

    @property
    def is_slower(self) -> Shows | None:
        """What shows that the candidate is beyond the margin at a quantile; None if nothing does."""
        return self._times.beyond(self.whole, self.step, self._recent.all)


class _Held:
    """Some measures of what is bad, each held against a margin.

    The steps of a rollout are compared each for itself and summed up: see `Excess`. And neither a good hour nor a good
    share before excuses what is bad now.
    """

    def __init__(
        self, measures: Sequence[Callable[[Totals], Excess]], margin: Margin, deviations: float, least: float = 0
    ) -> None:
        self._measures = {measure: Excess() for measure in measures}  # with the sum over the steps before
        self._margin, self._deviations, self._least = margin, deviations, least

    def keep(self, step: Totals) -> None:
        """Sum up a step that is over."""
        self._measures = {measure: before + measure(step) for measure, before in self._measures.items()}

    def beyond(self, whole: Totals, step: Totals, minute: Totals) -> Shows | None:
        """Return what shows it."""
        for measure, before in self._measures.items():
            in_step = measure(step)
            if self._is_beyond(before + in_step, self._deviations):
                # Over several shares the plain numbers of the rollout may say the opposite; then those of the step do.
                plain = self._is_beyond(measure(whole), 0.0)
                return Shows(whole, "rollout") if plain else Shows(step, "step")
            if self._is_beyond(in_step, self._deviations):
                return Shows(step, "step")
            if self._is_beyond(measure(minute), MINUTE):
                return Shows(minute, "minute")
        return None

    def _is_beyond(self, beside: Excess, deviations: float) -> bool:
        return beside.candidate >= self._least and beside.beyond(self._margin, deviations)


def _answers(seen: Totals) -> Excess:
    return seen.errors


def _clients(seen: Totals) -> Excess:
    return seen.failing


def _having(seen: Totals, feature: Feature) -> Excess:
    return seen.having(feature)


def _slow(seen: Totals, q: float, margin: Margin) -> Excess:
    return seen.slow(q, margin)

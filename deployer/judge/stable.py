"""Did stable become worse by a step of ours? A migration may break the release that users are on.

The comparison does not see it: the candidate even looks better beside it. So stable is held against itself: the part of
its responses that failed before the step. What fails is no coin here, and an outage that comes at the same moment is
taken for the step's doing, so it stops a rollout and blames nobody.
"""

from __future__ import annotations

import math

from deployer.judge import words
from deployer.judge.guard import AbsoluteGuard
from deployer.judge.totals import Rolling
from deployer.manifest.judge import Judge
from deployer.model import Counts

RATIO, ADD = 3.0, 0.01  # times the rate before, and percentage points more, that are no reason to stop
_ANSWERS, _ERRORS = 200, 1.0  # are added to those before: few responses tell little of a rate
MINUTE = 60.0  # seconds for which stable must have failed before it is said
PART = 0.5  # of the limit for the whole service
_CLEARLY = 3.0  # standard deviations
_LEAST = 50  # responses


class StableHealth:
    """Stable beside itself, before and after a step; and whether much of it fails at all."""

    def __init__(self, config: Judge) -> None:
        self._needed = math.log(1 / config.alpha)
        self._limit = PART * config.errors.max
        self._before, self._since = Counts(), Counts()
        self._step = ""
        self._guard: AbsoluteGuard | None = None
        self._lately = Rolling(MINUTE)
        self._began: float | None = None

    def begin(self, step: str) -> None:
        """Note that a step of ours begins that may change what stable does."""
        self._before += self._since
        self._since, self._step = Counts(), step
        rate = (self._before.errors + _ERRORS) / (self._before.requests + _ANSWERS)
        self._guard = AbsoluteGuard(max(RATIO * rate, rate + ADD))

    def add(self, seen: Counts, now: float) -> None:
        """Add what stable answered since the last look; `now` in seconds of a clock that does not go back."""
        seen = Counts(seen.requests, seen.errors)
        self._since += seen
        self._began = now if self._began is None else self._began
        self._lately.at(now)
        self._lately.new.add(seen, Counts())
        if self._guard:
            self._guard.add(seen)
            self._guard.at(now)

    @property
    def worse(self) -> str:
        """Return a sentence if stable became worse after a step; "" while that is not shown."""
        if self._guard is None or self._guard.log_evidence < self._needed:
            return ""
        before = words.answered("before", self._before, " errors") if self._before.requests else "before: not known"
        return f"stable became worse after {self._step}: {words.answered('since', self._since, ' errors')}, {before}"

    def trouble(self, now: float) -> str:
        """Return a sentence if much of what stable answered in the last minutes failed; "" while it did not."""
        seen = self._lately.all.stable
        allowed = self._limit * seen.requests
        if self._began is None or now - self._began < MINUTE or seen.requests < _LEAST:
            return ""
        if seen.errors <= allowed + _CLEARLY * math.sqrt(allowed):
            return ""
        return (
            f"{words.answered('stable', seen, ' errors')} for a minute or more, above {words.percent(self._limit)}: "
            "the candidate is compared with a release that fails, and a rollback would end at it"
        )

"""The verdict on a candidate: one object per rollout takes every sample and answers at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deployer.judge.errors import ErrorJudge
from deployer.judge.guard import AbsoluteGuard
from deployer.manifest.models import Judge
from deployer.model import FULL, Counts, Sample

Kind = Literal["worse", "no worse", "cannot judge"]
_LARGEST = 1e15  # evidence beyond this is not written out; JSON knows no infinity


@dataclass(frozen=True)
class Verdict:
    """What is known of the candidate, as a sentence and as the measured values beside their limits.

    `no worse` means proved: within the margins before the next share. `enough` is what a step of fixed time asks for: not
    found worse, and enough requests answered in this step to have had a chance of it.
    """

    kind: Kind
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    enough: bool = False


class Verdicts:
    """Takes the samples of a rollout, from its first share to its last, in constant memory.

    Make one per rollout, not one per step: the probability `alpha` of calling a candidate worse that is as good as
    stable covers all looks of one object. The absolute limit is another statement, with an `alpha` of its own; it is
    only tested while there is nothing to compare with. Once worse is always worse.

    `sticky` says how the proxy throws its coin: once per client, or afresh for each request (`traffic.sticky`).
    """

    def __init__(self, config: Judge, *, sticky: bool = True, routes: Sequence[str] = ()) -> None:
        self._config = config
        self._errors = ErrorJudge(margin=config.errors.margin, add=config.errors.add, sticky=sticky)
        self._guard = AbsoluteGuard(limit=config.errors.max)
        self._enough = math.log(1 / config.alpha)
        self._stable, self._candidate, self._alone = Counts(), Counts(), Counts()
        self._stable_ever = 0
        self._share, self._in_step, self._lost = 0, 0, 0
        self._worse: Verdict | None = None

    def begin(self, share: int, following: int) -> None:
        """Begin a step at `share`: shown afresh must be that the candidate may have `following` (basis points)."""
        self._share, self._in_step = share, 0

    @property
    def tolerated_errors(self) -> float:
        """Errors that the margin allows for what the candidate answered so far."""
        return self._candidate.requests * self._errors.tolerated

    def observe(self, sample: Sample, at: float) -> Verdict:
        """Add what was answered since the last look; `at` in seconds of a clock that does not go back.

        Raises ValueError for a sample that cannot be, such as more errors than requests.
        """
        _check(sample)
        if sample.share != self._share:
            self._share, self._in_step = sample.share, 0
        self._in_step += sample.candidate.requests
        self._lost += sample.lost
        # Decided by what was known before this sample: choosing the test by its own data would make it unfair.
        alone = bool(sample.share) and (sample.share >= FULL or not self._stable_ever)
        self._stable_ever += sample.stable.requests
        if alone:
            self._alone = _sum(self._alone, sample.candidate)
            self._guard = self._guard.after(sample.candidate, at)
        if 0 < sample.share < FULL:
            self._stable, self._candidate = _sum(self._stable, sample.stable), _sum(self._candidate, sample.candidate)
        self._errors = self._errors.after(sample.stable, sample.candidate, sample.share, at)
        return self._verdict(alone)

    def _verdict(self, alone: bool) -> Verdict:
        if self._worse:
            return self._worse
        for text, values, log in (self._against_stable(), self._against_limit()):
            if log >= self._enough:
                self._worse = Verdict("worse", text, values)
                return self._worse
        text, values, _ = self._against_limit() if alone else self._against_stable()
        if self._in_step < self._config.requests:
            needed = f"the candidate answered {self._in_step} of the {self._config.requests} requests that are needed"
            return Verdict("cannot judge", f"{needed}: {text}", values)
        return Verdict("cannot judge", text, values, enough=True)

    def _against_stable(self) -> tuple[str, dict[str, float | int], float]:
        log, tolerated = self._errors.log_evidence, self._errors.tolerated
        text = f"candidate {_rate(self._candidate)}, stable {_rate(self._stable)}: {self._compared(log)}"
        return text, {**self._values(self._candidate, log), **_side("stable", self._stable), "limit": tolerated}, log

    def _against_limit(self) -> tuple[str, dict[str, float | int], float]:
        log, limit = self._guard.log_evidence, self._config.errors.max
        text = f"candidate {_rate(self._alone)}, limit {_percent(limit)}: {self._compared(log)}"
        return text, {**self._values(self._alone, log), "limit": limit}, log

    def _values(self, candidate: Counts, log: float) -> dict[str, float | int]:
        return {
            **_side("candidate", candidate),
            "step_requests": self._in_step,
            "requests_needed": self._config.requests,
            "evidence": float(f"{math.exp(min(log, math.log(_LARGEST))):.4g}"),
            "evidence_needed": 1 / self._config.alpha,
            "share": self._share,
            "lost": self._lost,
        }

    def _compared(self, log: float) -> str:
        sign = "≥" if log >= self._enough else "<"
        seen = "over 10^15" if log >= math.log(_LARGEST) else _number(math.exp(log))
        return f"evidence {seen} {sign} {_number(1 / self._config.alpha)}"


def _check(sample: Sample) -> None:
    for name, side in (("stable", sample.stable), ("candidate", sample.candidate)):
        if not 0 <= side.errors <= side.requests:
            raise ValueError(f"{name}: {side.errors} errors of {side.requests} requests cannot be")
    if not 0 <= sample.share <= FULL:
        raise ValueError(f"a share of {sample.share} is not between 0 and {FULL} basis points")


def _sum(a: Counts, b: Counts) -> Counts:
    return Counts(a.requests + b.requests, a.errors + b.errors)


def _side(name: str, seen: Counts) -> dict[str, float | int]:
    rate = seen.errors / seen.requests if seen.requests else 0.0
    return {f"{name}_requests": seen.requests, f"{name}_errors": seen.errors, f"{name}_rate": rate}


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g} %"


def _rate(seen: Counts) -> str:
    if not seen.requests:
        return "has answered nothing"
    return f"{100 * seen.errors / seen.requests:.1f} % errors ({seen.errors} of {seen.requests})"


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 1 else f"{value:.0f}"

"""The verdict on a candidate: one object per rollout takes every sample and answers at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deployer.judge import numbers, words
from deployer.judge.comparison import Comparison, Proof
from deployer.judge.guard import AbsoluteGuard
from deployer.judge.margin import Margin
from deployer.judge.seen import Allowance, Seen, Watched
from deployer.manifest.models import Judge
from deployer.model import FULL, Sample

Kind = Literal["worse", "no worse", "cannot judge"]


@dataclass(frozen=True)
class Verdict:
    """What is known of the candidate, as a sentence and as the measured values beside their limits.

    `no worse` means proved: within the margins that hold before the following share. `enough` is what a step of fixed
    time asks for: not found worse, and enough answered in this step to have had a chance of it.
    """

    kind: Kind
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    enough: bool = False


class Verdicts:
    """Takes the samples of a rollout, from its first share to its last, in constant memory.

    Make one per rollout, not one per step: the probability `alpha` of calling a candidate worse that is as good as
    stable covers all looks of one object; so does `beta` for each step, the probability of calling one no worse that is
    beyond a margin. The absolute limit is another statement, with an `alpha` of its own; it is only tested while there
    is nothing to compare with. Once worse is always worse.

    `sticky` says how the proxy throws its coin: once per client, or afresh for each request (`traffic.sticky`);
    `routes` are the prefixes whose errors are judged on their own too, in the order in which samples number them.
    """

    def __init__(self, config: Judge, *, sticky: bool, routes: Sequence[str] = ()) -> None:
        self._config = config
        self._sticky = sticky
        self._comparison = Comparison(config, sticky=sticky, routes=routes)
        self._guard = AbsoluteGuard(config.errors.max)
        self._allowance = Allowance(config.errors.margin, config.errors.add, config.errors.max)
        self._watched, self._alone = Watched(), Seen()
        self._on_routes = {route: Watched() for route in routes}
        self._stable_ever = self._candidate_ever = False
        self._share, self._following, self._in_step, self._lost = 0, FULL, 0, 0
        self._worse: Verdict | None = None

    def begin(self, share: int, following: int) -> None:
        """Begin a step at `share`: to be shown afresh is that the candidate may have `following` (basis points)."""
        if not 0 < following <= FULL:
            raise ValueError(f"a following share of {following} is not between 1 and {FULL} basis points")
        self._share, self._following, self._in_step = share, following, 0
        self._allowance.begin(self._known_rate)
        self._comparison.begin(following)

    @property
    def tolerated_errors(self) -> float:
        """Errors that the margin allows for what the candidate answered so far in this rollout."""
        return self._allowance.errors(self._known_rate)

    @property
    def _known_rate(self) -> float | None:
        return self._comparison.errors.rate.value if self._stable_ever else None

    def observe(self, sample: Sample, at: float) -> Verdict:
        """Add what was answered since the last look; `at` in seconds of a clock that does not go back.

        Raises ValueError for a sample that cannot be, such as more errors than requests.
        """
        _check(sample)
        self._share = sample.share
        self._in_step += sample.candidate.requests
        self._lost += sample.lost
        self._allowance.answer(sample.stable, sample.candidate)
        # Decided by what was known before this sample: choosing the test by its own data would make it unfair.
        alone = sample.share >= FULL or (self._candidate_ever and not self._stable_ever)
        self._stable_ever |= sample.stable.requests > 0
        self._candidate_ever |= sample.candidate.requests > 0
        if alone:
            self._alone.add(sample.stable, sample.candidate, timed=False)
            self._guard.add(sample.candidate)
            self._guard.at(at)
        self._compare(sample, at)
        return self._verdict(alone=sample.share >= FULL or (alone and not self._stable_ever))

    @property
    def _seen(self) -> Seen:
        return self._watched.whole

    def _compare(self, sample: Sample, at: float) -> None:
        for watched in (self._watched, *self._on_routes.values()):
            watched.at(at)
        if not sample.share and not sample.candidate.requests:  # a spent budget ends the share under its last answers
            self._comparison.teach(sample.stable)
        elif sample.share < FULL:
            self._watched.add(sample.stable, sample.candidate, timed=self._comparison.warm)
        judged = list(self._on_routes.values())
        for number, thrown in sample.routes:
            for coins in thrown if number < len(judged) else ():
                judged[number].add(coins.stable, coins.candidate, timed=False)
                judged[number].add_failed(coins.first_errors)
        self._comparison.add(sample)
        self._comparison.look(at)

    # -- what to say

    def _verdict(self, alone: bool) -> Verdict:
        if not self._worse:
            self._worse = self._found_worse()
        if self._worse:
            return self._worse
        enough = self._in_step >= self._config.requests
        if alone:
            text = f"{self._limit_beside()} is allowed, and there is nothing to compare with"
            return Verdict("cannot judge", text, self._values_alone(), enough)
        proofs = self._comparison.proofs
        missing = [proof for proof in proofs if proof.log_evidence < math.log(1 / self._config.beta)]
        text = self._what_is_missing(proofs, missing) if missing else self._what_is_shown(proofs)
        return Verdict("cannot judge" if missing else "no worse", text, self._values(proofs), enough)

    def _found_worse(self) -> Verdict | None:
        needed = math.log(1 / self._config.alpha)
        if self._comparison.log_worse >= needed and (shows := self._beyond_margin()):
            return Verdict("worse", self._why_worse(shows), self._values(self._comparison.proofs))
        if self._guard.log_evidence >= needed:
            return Verdict("worse", f"{self._limit_beside()} is allowed", self._values_alone())
        return None

    def _beyond_margin(self) -> Seen | None:
        """Give what lies beyond the margin of what the evidence is about; None if the margin covers what was seen.

        Evidence grows while the sides differ at all, the faster the wider the margin that they are told apart by; what
        a margin covers is no reason to go back. An alarm that waits for this is right no less often.
        """
        winner, errors = self._winner, self._config.errors
        if winner == "latency" and (latency := self._config.latency):
            margin = Margin(latency.margin, 1000 * latency.add)
            return self._watched.slower_beyond(margin, self._quantiles)
        return self._on_routes.get(winner, self._watched).fails_beyond(Margin(errors.margin, errors.add))

    @property
    def _winner(self) -> str:
        """The bettor who won most."""
        return max(self._comparison.bettors, key=lambda bettor: bettor.log_share).name

    @property
    def _quantiles(self) -> tuple[str, ...]:
        """Names of the quantiles in which a candidate may be seen to be slower."""
        return ("p50", "p90", "p99", *(self._config.latency.quantiles if self._config.latency else ()))

    def _limit_beside(self) -> str:
        answered = words.answered("candidate", self._alone.candidate, " errors")
        return f"{answered}, {words.percent(self._config.errors.max)}"

    def _why_worse(self, shows: Seen) -> str:
        """Name what the bettor who won most has seen."""
        errors, winner = self._config.errors, self._winner
        on_route = winner in self._on_routes
        of_late = "" if shows is self._seen or on_route else " in the last minute"
        if winner == "latency" and (latency := self._config.latency):
            allowed = words.of_times(Margin(latency.margin, 1000 * latency.add))
            return f"{words.both_times(shows, self._quantiles)}: slower{of_late}; {allowed} is allowed"
        told = words.both_failed(shows.failed) if on_route and self._sticky else words.both(shows)
        where = f"{winner}: " if on_route else ""
        return f"{where}{told}{of_late}; {words.of_errors(Margin(errors.margin, errors.add))} is allowed"

    def _what_is_shown(self, proofs: Sequence[Proof]) -> str:
        shown = f"no worse than {words.of_errors(proofs[0].margin)} in errors"
        if latency := self._config.latency:
            shown += f", {words.of_times(proofs[1].margin)} in {words.listed(latency.quantiles)}"
        if self._following < FULL:
            shown += f", which is asked for before {words.percent(self._following / FULL)}"
        return f"{words.both(self._seen)}: shown to be {shown}"

    def _what_is_missing(self, proofs: Sequence[Proof], missing: Sequence[Proof]) -> str:
        if not self._seen.candidate.requests:
            return f"{words.answered('candidate', self._seen.candidate)}: nothing to compare yet"
        seen = words.both(self._seen)
        names = words.listed([proof.name for proof in missing])
        shown = [proof.name for proof in proofs if proof not in missing]
        told = (
            f"no worse shown for {words.listed(shown)}; {names} not yet"
            if shown
            else f"not yet shown to be no worse in {names}"
        )
        return f"{seen}: {told}{self._until_when(missing)}"

    def _until_when(self, missing: Sequence[Proof]) -> str:
        times, latency = self._comparison.times, self._config.latency
        if times and latency and not times.warmup.over:
            warmup = latency.warmup
            return f"; answer times count after {warmup.requests:,} answers or {warmup.seconds:g} s"
        answers = [numbers.still_needed(proof, self._config.beta) for proof in missing]
        known = [number for number in answers if number is not None]
        return words.still_needed(max(known), sticky=self._sticky) if len(known) == len(answers) else ""

    def _values(self, proofs: Sequence[Proof]) -> dict[str, Any]:
        return {**numbers.compared(self._seen, self._comparison, proofs, self._config), **self._step()}

    def _values_alone(self) -> dict[str, Any]:
        guard = self._guard.log_evidence
        return {**numbers.against_limit(self._alone.candidate, guard, self._config), **self._step()}

    def _step(self) -> dict[str, int]:
        return {
            "share": self._share,
            "following": self._following,
            "step_requests": self._in_step,
            "requests_needed": self._config.requests,
            "lost": self._lost,
        }


def _check(sample: Sample) -> None:
    sides = [("stable", sample.stable), ("candidate", sample.candidate)]
    for coins in (*sample.coins, *(c for _, of_route in sample.routes for c in of_route)):
        sides += [("stable", coins.stable), ("candidate", coins.candidate)]
        if not 0 <= coins.p <= 1:
            raise ValueError(f"a coin with a probability of {coins.p} cannot be")
    for name, side in sides:
        if not 0 <= side.errors <= side.requests:
            raise ValueError(f"{name}: {side.errors} errors of {side.requests} requests cannot be")
    if not 0 <= sample.share <= FULL:
        raise ValueError(f"a share of {sample.share} is not between 0 and {FULL} basis points")

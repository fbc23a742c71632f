"""The verdict on a candidate: one object per rollout takes every sample and answers at every look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from deployer.judge import numbers, words
from deployer.judge.allowance import Allowance
from deployer.judge.comparison import Bettor, Comparison, Proof
from deployer.judge.guard import AbsoluteGuard
from deployer.judge.margin import Margin
from deployer.judge.margin_check import MarginCheck, Shows
from deployer.judge.service import ServiceErrors
from deployer.judge.totals import Totals
from deployer.judge.unseen import Unseen
from deployer.judge.wealth import log_sum
from deployer.model import FULL, Sample, Waiting

if TYPE_CHECKING:
    from deployer.manifest.models import Judge

Kind = Literal["worse", "no worse", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """What is known of the candidate, as a sentence and as the measured values beside their limits.

    `no worse` means proved: within the margins that hold before the following share. `enough` is what a step of fixed
    time asks for: not found worse, and enough answered in this step to have had a chance of it. `unseen` is what may
    have gone unnoticed then.
    """

    kind: Kind
    text: str
    values: dict[str, Any] = field(default_factory=dict)
    enough: bool = False
    unseen: Unseen | None = None

    def at_its_time(self) -> tuple[str, dict[str, Any]]:
        """Return text and values of a verdict that ends a step by its time: also what may have gone unnoticed."""
        if self.kind != "inconclusive" or not self.enough or not self.unseen:
            return self.text, self.values
        return f"{self.text}; {words.unseen(self.unseen)}", {**self.values, **self.unseen.values()}


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
        self._errors, self._times, self._responses = _margins(config)
        first = MarginCheck(self._errors, self._responses) if sticky else None
        self._watched = MarginCheck(self._errors, self._responses, self._times, _parts(self._quantiles), first)
        self._alone = Totals()
        self._service = ServiceErrors(config.errors.max)
        self._on_routes = {route: MarginCheck(self._errors, self._responses) for route in routes}
        self._stable_ever = self._candidate_ever = False
        self._share, self._following, self._in_step, self._lost, self._few = 0, FULL, 0, 0, 0
        self._worse: Verdict | None = None
        self._more: Waiting | None = None  # what is in flight, if more of it is the candidate's than allowed

    def begin(self, share: int, following: int) -> None:
        """Begin a step at `share`: to be shown afresh is that the candidate may have `following` (basis points)."""
        if not 0 < following <= FULL:
            raise ValueError(f"a following share of {following} is not between 1 and {FULL} basis points")
        self._share, self._following, self._in_step = share, following, 0
        self._allowance.begin(self._known_rate)
        self._comparison.begin(following)
        for watched in (self._watched, *self._on_routes.values()):
            watched.begin()

    @property
    def tolerated_errors(self) -> float:
        """Errors that the margin allows for what the candidate answered so far in this rollout."""
        return self._allowance.errors(self._known_rate)

    @property
    def _unseen(self) -> Unseen | None:
        """What the responses of the rollout so far do not rule out; None while the candidate has none beside stable."""
        seen = self._seen
        if not self._sticky:
            return Unseen(seen.candidate.errors, seen.candidate.requests, False) if seen.candidate.requests else None
        failed = seen.clients.failed[1]  # a client may fail first where its first response was seen by nobody
        clients = max(seen.clients.thrown, failed)
        return Unseen(failed, clients, True) if clients else None

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
        self._few += sample.few
        self._allowance.answer(sample.stable, sample.candidate)
        self._service.add((sample.stable, sample.candidate, sample.rest), at)
        # Decided by what was known before this sample: choosing the test by its own data would make it unfair.
        alone = sample.share >= FULL or (self._candidate_ever and not self._stable_ever)
        self._stable_ever |= sample.stable.requests > 0
        self._candidate_ever |= sample.candidate.requests > 0
        if alone:
            self._alone.add(sample.stable, sample.candidate, timed=False)
            self._guard.add(sample.candidate)
            self._guard.at(at)
        self._compare(sample, at)
        return self._beside_few(self._verdict(alone=sample.share >= FULL or (alone and not self._stable_ever)))

    def _beside_few(self, verdict: Verdict) -> Verdict:
        """Return what the verdict does not rest on."""
        return replace(verdict, text=f"{verdict.text}; {words.few(self._few)}") if self._few else verdict

    @property
    def _seen(self) -> Totals:
        return self._watched.whole

    def _compare(self, sample: Sample, at: float) -> None:
        for watched in (self._watched, *self._on_routes.values()):
            watched.at(at)
        # A spent budget ends the share under its last answers.
        unshared = not (sample.share or sample.candidate.requests or sample.coins)
        if sample.share < FULL and not unshared:
            self._watched.add(sample.stable, sample.candidate, timed=self._comparison.warm)
            if self._sticky:
                self._watched.add_clients(sample.coins)
        judged = list(self._on_routes.values())
        for number, thrown in sample.routes:
            if number < len(judged):
                judged[number].add_coins(thrown, sticky=self._sticky)
        self._comparison.add(sample)
        if sample.waiting:
            self._comparison.wait(sample.waiting, at)
        self._comparison.look(at)
        self._more = self._comparison.waiting.beyond(at) if self._comparison.waiting else None
        if unshared:
            self._comparison.teach(sample.stable)

    # -- what to say

    def _verdict(self, alone: bool) -> Verdict:
        if not self._worse:
            self._worse = self._found_worse()
        if self._worse:
            return self._worse
        enough = self._in_step >= self._config.requests
        if alone:
            text = f"{self._limit_beside()} is allowed, and there is nothing to compare with"
            return Verdict("inconclusive", text, self._values_alone(), enough)
        proofs = self._comparison.proofs
        if trouble := self._service.trouble:
            text = words.trouble(trouble, self._config.errors.max)
            return Verdict("inconclusive", text, self._values(proofs))
        if self._more:
            return Verdict("inconclusive", self._what_waits(self._more), self._values(proofs))
        missing = [proof for proof in proofs if proof.log_evidence < math.log(1 / self._config.beta)]
        text = self._what_is_missing(proofs, missing) if missing else self._what_is_shown(proofs)
        return Verdict("inconclusive" if missing else "no worse", text, self._values(proofs), enough, self._unseen)

    def _found_worse(self) -> Verdict | None:
        needed = math.log(1 / self._config.alpha)
        if self._comparison.log_worse >= needed:
            # What is within its margin is no part of the reason: a part of a sum is right no less often than the sum.
            won = [(bettor, shows) for bettor in self._comparison.bettors if (shows := self._shows(bettor))]
            if won and log_sum([bettor.log_share for bettor, _ in won]) >= needed:
                winner, shows = max(won, key=lambda pair: pair[0].log_share)
                return Verdict("worse", self._why_worse(winner, shows), self._values(self._comparison.proofs))
        if self._guard.log_evidence >= needed:
            return Verdict("worse", f"{self._limit_beside()} is allowed", self._values_alone())
        return None

    def _shows(self, bettor: Bettor) -> Shows | None:
        """Return what lies beyond the margin of what a bettor bets on; None if the margin covers what was seen."""
        watched = self._on_routes.get(bettor.route, self._watched)
        if bettor.name == "waiting":
            return Shows(self._seen, "rollout") if self._more and not self._sticky else None
        if bettor.feature:
            return watched.differs(bettor.feature)
        return watched.is_slower if bettor.name == "latency" else watched.fails

    @property
    def _quantiles(self) -> tuple[str, ...]:
        """Names of the quantiles in which a candidate may be seen to be slower."""
        return ("p50", "p90", "p99", "p99.9", *(self._config.latency.quantiles if self._config.latency else ()))

    def _limit_beside(self) -> str:
        answered = words.answered("candidate", self._alone.candidate, " errors")
        return f"{answered}, {words.percent(self._config.errors.max)}"

    def _why_worse(self, winner: Bettor, shows: Shows) -> str:
        """Name what the bettor who won most has seen."""
        seen = shows.seen
        when = {"rollout": "", "step": f" at {words.percent(self._share / FULL)}", "minute": " in the last minute"}
        on_route = f"{winner.route}: " if winner.route else ""
        if winner.name == "waiting" and self._more:
            return self._what_waits(self._more)
        if winner.feature and self._responses:
            return f"{on_route}{words.mix(seen, winner.feature, self._responses, first=shows.first)}{when[shows.when]}"
        if winner.name == "latency" and self._times:
            allowed = words.of_times(self._times)
            return f"{words.both_times(seen, self._quantiles)}: slower{when[shows.when]}; {allowed} is allowed"
        by_clients = self._sticky and (bool(on_route) or not seen.errors.beyond(self._errors, 0.0))
        told = words.both_failed(seen.clients.failed) if by_clients else words.both(seen)
        allowed = words.of_errors(self._errors)
        return f"{on_route}{told}{when[shows.when]}; {allowed} is allowed"

    def _what_waits(self, waiting: Waiting) -> str:
        allowed = self._comparison.waiting.allowed(waiting) if self._comparison.waiting else 0.0
        return words.waiting(waiting, allowed)

    def _what_is_shown(self, proofs: Sequence[Proof]) -> str:
        shown = f"no worse than {words.of_errors(proofs[0].margin)} in errors"
        if latency := self._config.latency:
            shown += f", {words.of_times(proofs[1].margin)} in {words.listed(latency.quantiles)}"
        if self._following < FULL:
            shown += f", which is asked for before {words.percent(self._following / FULL)}"
        return f"{words.both(self._seen)}: proven {shown}"

    def _what_is_missing(self, proofs: Sequence[Proof], missing: Sequence[Proof]) -> str:
        if not self._seen.candidate.requests:
            return f"{words.answered('candidate', self._seen.candidate)}: nothing to compare yet"
        seen = words.both(self._seen)
        names = words.listed([proof.name for proof in missing])
        shown = [proof.name for proof in proofs if proof not in missing]
        told = (
            f"no worse proven for {words.listed(shown)}; {names} not yet"
            if shown
            else f"not yet proven no worse in {names}"
        )
        return f"{seen}: {told}{self._until_when(missing)}"

    def _until_when(self, missing: Sequence[Proof]) -> str:
        times, latency = self._comparison.times, self._config.latency
        if times and latency and not times.warmup.over:
            warmup = latency.warmup
            return f"; latency counts after {warmup.requests:,} responses or {warmup.seconds:g} s"
        answers = [numbers.still_needed(proof, self._config.beta) for proof in missing]
        known = [number for number in answers if number is not None]
        return words.still_needed(max(known), sticky=self._sticky) if len(known) == len(answers) else ""

    def _values(self, proofs: Sequence[Proof]) -> dict[str, Any]:
        unit = words.unit(sticky=self._sticky)
        return {**numbers.compared(self._seen, self._comparison, proofs, self._config, unit), **self._step()}

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
            "few": self._few,
        }


def _margins(config: Judge) -> tuple[Margin, Margin | None, Margin | None]:
    """Return those of errors, of times (in ms) and of responses."""
    errors, latency, responses = config.errors, config.latency, config.responses
    return (
        Margin(errors.margin, errors.add),
        Margin(latency.margin, 1000 * latency.add) if latency else None,
        Margin(responses.margin, responses.add) if responses else None,
    )


def _parts(quantiles: Sequence[str]) -> list[float]:
    return [float(quantile[1:]) / 100 for quantile in quantiles]


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

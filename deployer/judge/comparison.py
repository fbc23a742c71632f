"""The candidate beside stable: all evidence of a rollout, by one request after another or by samples.

Both ways in fill the same block of counts; a look settles it. What the look decides is valid whenever one looks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core.response_kinds import Feature
from deployer.judge.bets import growth_of_proof
from deployer.judge.error_evidence import ErrorEvidence
from deployer.judge.margin import Margin
from deployer.judge.responses import ResponseEvidence
from deployer.judge.time_evidence import TimeEvidence
from deployer.judge.waiting import FOR, WaitingEvidence
from deployer.judge.wealth import log_sum
from deployer.model import FULL, Coins, Counts, Sample, Waiting

if TYPE_CHECKING:
    from deployer.manifest.models import Judge

# Parts of the purse that bets that the candidate is worse: they sum up to 1, so that one alarm covers all of them.
WEIGHT_ERRORS, WEIGHT_LATENCY = 0.6, 0.4
WEIGHT_RESPONSES = 0.15  # is taken from both of them
WEIGHT_ROUTES = 0.5  # of the parts for errors and responses goes to the routes, if there are any, in equal shares

_SLOWER = 2.0  # times the margin of times: what is in flight is mostly the slowest, whose mean varies


@dataclass(frozen=True)
class Bettor:
    """A part of the purse: what it bets on, how large it was, and the logarithm of what it is now.

    `feature` is of responses; `route` is empty for those of the whole service.
    """

    name: str
    weight: float
    log_evidence: float
    route: str = ""
    feature: Feature | None = None

    @property
    def log_share(self) -> float:
        """Natural logarithm of what it adds to the evidence."""
        return math.log(self.weight) + self.log_evidence


@dataclass(frozen=True)
class Proof:
    """Evidence that something of the candidate is within `margin`; in ms for latency.

    `growth` is what an answer, of either side, adds to the logarithm if the candidate is as good as stable; 0 while
    that is not known. `limits` are stable's value and what is tolerated beside it.
    """

    name: str
    margin: Margin
    log_evidence: float
    growth: float
    limits: tuple[float, float] | None


class Comparison:
    """Evidence for and against a candidate over a whole rollout, in constant memory."""

    def __init__(self, config: Judge, *, sticky: bool, routes: Sequence[str] = ()) -> None:
        margin = Margin(config.errors.margin, config.errors.add)
        self._sticky = sticky
        self._latency = config.latency
        self.errors = ErrorEvidence(margin, sticky=sticky)
        self.routes = {route: ErrorEvidence(margin, sticky=sticky) for route in routes}
        self.times = TimeEvidence(config.latency) if config.latency else None
        self.responses: dict[str, ResponseEvidence] = {}  # by route; that of the whole service by ""
        self.waiting: WaitingEvidence | None = None
        if config.responses:
            slower = _SLOWER * config.latency.margin if config.latency else 0.0
            self.waiting = WaitingEvidence(max(config.responses.margin, slower))
            mix = Margin(config.responses.margin, config.responses.add)
            self.responses = {route: ResponseEvidence(mix, sticky=sticky) for route in ("", *routes)}
        self._p = 0.5  # of the coin that sent most of the last answers: what is coming is estimated with it

    # -- what is seen

    def teach(self, stable: Counts) -> None:
        """Learn what stable is like from answers that no coin sent."""
        self.errors.teach(stable.requests, stable.errors)
        if self.times:
            self.times.teach(stable)

    def observe(
        self,
        p: float,
        *,
        candidate: bool,
        error: bool,
        ms: float,
        first_answer: bool = True,
        first_error: bool = True,
    ) -> None:
        """Count one answer that a coin with probability `p` sent; `ms` is not looked at for an error.

        Where clients are sticky, `first_answer` says whether it is the client's first in this step, and `first_error`
        whether it is its first error in the rollout.
        """
        if not 0 < p < 1:
            return  # nothing was thrown: such an answer says nothing about the difference
        times = self.times
        if candidate and times:
            times.warmup.answer(1)
        cell = self.errors.cell(p)
        if self._sticky:
            if error and first_error:
                cell.firsts[candidate] += 1
            if not first_answer:
                return
        cell.answers[2 * candidate + error] += 1
        if times and not error:
            times.count_one(p, candidate=candidate, ms=ms)

    def add(self, sample: Sample) -> None:
        """Count what a sample says may be bet on; routes that are not judged are left out."""
        thrown = _thrown(sample.coins)
        if thrown:
            self._p = max(thrown, key=lambda coins: coins.stable.requests + coins.candidate.requests).p
        for coins in thrown:
            self.errors.count(coins)
            if self.times:
                self.times.count(coins)
            if self.responses:
                self.responses[""].count(coins)
        judged = list(self.routes)
        for number, of_route in sample.routes:
            for coins in _thrown(of_route) if number < len(judged) else ():
                self.routes[judged[number]].count(coins)
                if self.responses:
                    self.responses[judged[number]].count(coins)
        if self.times and 0 < sample.share < FULL:
            self.times.warmup.answer(sample.candidate.requests)

    def wait(self, waiting: Waiting, now: float) -> None:
        """Take what is in flight. While the candidate is cold it may be slower, and more of it in flight."""
        if self.waiting:
            self.waiting.read(waiting, now, bets=self.times is None or self.times.warmup.over)

    def look(self, now: float) -> None:
        """Settle the block: score, learn, and let time go by; `now` in seconds of a clock that does not go back."""
        for evidence in (self.errors, *self.routes.values()):
            evidence.settle()
            evidence.abort.at(now)
        for mix in self.responses.values():
            mix.settle(now)
        if self.times:
            self.times.settle(now)

    def begin(self, following: int) -> None:
        """Begin a fresh proof that the candidate may have `following` of the traffic (basis points)."""
        for evidence in (self.errors, *self.routes.values()):
            evidence.begin(following)
        if self.times:
            self.times.begin(following)

    # -- what is known

    @property
    def bettors(self) -> tuple[Bettor, ...]:
        """The parts of the purse."""
        left = 1.0 - WEIGHT_RESPONSES if self.responses else 1.0
        errors = left * WEIGHT_ERRORS if self.times else left
        each = errors * WEIGHT_ROUTES / len(self.routes) if self.routes else 0.0
        found = [Bettor("errors", errors - each * len(self.routes), self.errors.abort.log_evidence)]
        if self.times:
            found.append(Bettor("latency", left * WEIGHT_LATENCY, self.times.abort.log_evidence))
        found += [Bettor(route, each, of.abort.log_evidence, route) for route, of in self.routes.items()]
        if self.waiting:
            found.append(Bettor("waiting", WEIGHT_RESPONSES * FOR, self.waiting.log_evidence))
        return (*found, *self._on_responses())

    def _on_responses(self) -> Iterator[Bettor]:
        whole = WEIGHT_RESPONSES * (1 - FOR)
        each = whole * WEIGHT_ROUTES / len(self.routes) if self.routes else 0.0
        for route, mix in self.responses.items():
            weight = each if route else whole - each * len(self.routes)
            for feature, log in mix.found:
                yield Bettor(f"{route} {feature.name}".strip(), weight * feature.weight, log, route, feature)

    @property
    def warm(self) -> bool:
        """Return whether latency are compared: not while the candidate is cold, or stable's are not known."""
        return bool(self.times and self.times.warmup.over and self.times.abort.cuts)

    @property
    def log_worse(self) -> float:
        """Natural logarithm of the evidence that the candidate is worse; enough is log(1/alpha)."""
        return log_sum([bettor.log_share for bettor in self.bettors])

    @property
    def proofs(self) -> tuple[Proof, ...]:
        """What must be shown before the share may grow: each must reach log(1/beta) by itself."""
        found = [self._of_errors("errors", self.errors)]
        if self.times and self._latency:
            for name, proof in zip(self._latency.quantiles, self.times.proofs, strict=True):
                limits = (proof.threshold.stable, proof.threshold.candidate) if proof.threshold else None
                found.append(Proof(name, proof.margin, proof.log_evidence, proof.growth(self._p), limits))
        found += [self._of_errors(route, evidence) for route, evidence in self.routes.items()]
        return tuple(found)

    def _of_errors(self, name: str, evidence: ErrorEvidence) -> Proof:
        proof, rate = evidence.proof, evidence.rate.value
        growth = growth_of_proof(self._p, rate, proof.margin)
        return Proof(name, proof.margin, proof.log_evidence, growth, (rate, proof.margin.of(rate)))


def _thrown(coins: Sequence[Coins]) -> list[Coins]:
    return [some for some in coins if 0 < some.p < 1]

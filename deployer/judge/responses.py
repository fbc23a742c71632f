"""Is the mix of good responses worse: more redirects, more 404, more that are empty, much smaller or cut short?

Each feature (`kinds.FEATURES`) is bet on by itself, as errors are where clients keep their side: given that a
response has the feature, which side was it on? It begins with the first response that has it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployer.core.response_kinds import FEATURES, Feature
from deployer.judge.errors import ErrorAbort
from deployer.judge.margin import Margin
from deployer.judge.rate import Rate
from deployer.judge.wealth import log_sum
from deployer.model import Coins, Counts

Kinds = tuple[tuple[int, ...], tuple[int, ...]]  # of stable and of the candidate


@dataclass
class FeatureEvidence:
    """Evidence that the candidate has more of one feature."""

    abort: ErrorAbort
    rate: Rate = field(default_factory=Rate)

    def learn(self, answers: int, having: int) -> None:
        """Learn stable's rate from what was bet on."""
        if self.rate.learn(answers, having):
            self.abort.forget_bets()


class ResponseEvidence:
    """Evidence against the candidate, by feature; first count a block, then settle it.

    Where clients keep their side it is bet on twice, with half of the stake each: on their first answers, and on their
    first response of each kind, which is another one where a part of a page is missing.
    """

    def __init__(self, margin: Margin, *, sticky: bool) -> None:
        self._bets = (_Bets(margin, _answers), _Bets(margin, _firsts)) if sticky else (_Bets(margin, _answers),)

    def count(self, coins: Coins) -> None:
        """Count responses of a sample into the block."""
        for bets in self._bets:
            bets.count(coins)

    def settle(self, now: float) -> None:
        """Score the block with the bets that were fixed before it, learn from it, and let time go by."""
        for bets in self._bets:
            bets.settle(now)

    @property
    def found(self) -> Iterator[tuple[Feature, float]]:
        """The natural logarithm of the evidence of each feature that was seen."""
        seen = {feature for bets in self._bets for feature in bets.features}
        for feature in (each for each in FEATURES if each in seen):
            logs = [
                bets.features[feature].abort.log_evidence if feature in bets.features else 0.0 for bets in self._bets
            ]
            yield feature, log_sum(logs) - math.log(len(logs))


class _Bets:
    """Bets on each feature of some responses."""

    def __init__(self, margin: Margin, kinds: Callable[[Coins], Kinds]) -> None:
        self._margin = margin
        self._kinds = kinds
        self._block: dict[float, tuple[Counts, Counts]] = {}
        self._before = Rate()  # of what nothing was seen yet: so many of stable's answers
        self.features: dict[Feature, FeatureEvidence] = {}

    def count(self, coins: Coins) -> None:
        """Count responses of a sample into the block."""
        stable, candidate = self._block.get(coins.p, (Counts(), Counts()))
        of_stable, of_candidate = self._kinds(coins)
        self._block[coins.p] = (
            stable + replace(coins.stable, kinds=of_stable),
            candidate + replace(coins.candidate, kinds=of_candidate),
        )

    def settle(self, now: float) -> None:
        """Score the block with the bets that were fixed before it, learn from it, and let time go by."""
        for p, (stable, candidate) in self._block.items():
            if stable.kinds or candidate.kinds:
                self._score(p, stable.kinds, candidate.kinds)
        answers = sum(stable.requests - stable.errors for stable, _ in self._block.values())
        kinds = [stable.kinds for stable, _ in self._block.values() if stable.kinds]
        self._before.learn(answers, 0)
        for feature, evidence in self.features.items():
            evidence.learn(answers, sum(feature.counts(of_stable, ())[0] for of_stable in kinds))
            evidence.abort.at(now)
        self._block.clear()

    def _score(self, p: float, stable: Sequence[int], candidate: Sequence[int]) -> None:
        for feature in FEATURES:
            of_stable, of_candidate = feature.counts(stable, candidate)
            if of_stable or of_candidate:
                evidence = self._of(feature)
                evidence.abort.score(p, evidence.rate.value, (0, of_stable, 0, of_candidate))

    def _of(self, feature: Feature) -> FeatureEvidence:
        if feature not in self.features:
            evidence = self.features[feature] = FeatureEvidence(ErrorAbort(self._margin, sticky=True))
            evidence.learn(round(self._before.answers), 0)
        return self.features[feature]


def _answers(coins: Coins) -> Kinds:
    return coins.stable.kinds, coins.candidate.kinds


def _firsts(coins: Coins) -> Kinds:
    return coins.first_kinds

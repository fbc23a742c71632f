"""Is a quantile of the candidate's latency shown to be within the margin?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from deployer.judge.bets import Bet, information, on_every_answer
from deployer.judge.cuts import first_fine_bucket
from deployer.judge.histogram import Histogram, upper_edge
from deployer.judge.latency import LEAST
from deployer.judge.margin import Margin
from deployer.judge.tables import Tables
from deployer.judge.wealth import Wealth

WEIGHTS = (0.7, 0.3)  # a candidate as quick as stable, and one half-way to the margin
_TIED = 0.5  # of what should be above the quantile: with less above it, times are tied at the quantile itself


@dataclass(frozen=True)
class Threshold:
    """What is slow: for stable above `stable` ms, stable's quantile; for the candidate above `candidate`, the margin.

    Where many of stable's times are in the quantile's own bucket (all below 1 ms, or whole milliseconds), few or none
    are above it. Then those in the bucket, from `tie` on, count as slow by the part `tied`, so that in sum as many are
    slow as the quantile says. `slow` is the part of stable's that is slow; `believed` are the parts of a candidate that
    is as quick as stable, and of one that is half-way to the margin.
    """

    stable: float
    candidate: float
    tie: float
    tied: float
    slow: float
    believed: tuple[float, float]

    @classmethod
    def of(cls, q: float, times: Histogram, margin: Margin) -> Threshold:
        """Put it where stable's quantile is now."""
        at = times.quantile(q)
        edge = upper_edge(at)
        above, inside = sum(times.counts[at + 1 :]) / times.total, times.counts[at] / times.total
        tied = (1 - q - above) / inside if above < _TIED * (1 - q) else 0.0
        slow = _smooth(1 - q if tied else above, times)
        limit = margin.of(edge)
        quick, half_way = (min(slow, _smooth(times.part_above(ms), times)) for ms in (limit, math.sqrt(edge * limit)))
        return cls(edge, limit, upper_edge(at - 1) if at else 0.0, tied, slow, (quick, half_way))

    def stable_class(self, ms: float) -> int:
        """Return whether a time of stable is quick (0), tied (1) or slow (2)."""
        if ms > self.stable:
            return 2
        return 1 if self.tied and ms >= self.tie else 0

    def candidate_class(self, ms: float) -> int:
        """Return whether a time of the candidate is quick (3) or slow (4)."""
        return 4 if ms > self.candidate else 3

    def classes(self, stable: Sequence[int], candidate: Sequence[int]) -> list[int]:
        """Count a sample's buckets by class; the candidate's limit is rounded down, which makes it harder to keep."""
        slow, tie = first_fine_bucket(self.stable, up=True), first_fine_bucket(self.tie, up=True) if self.tie else 0
        late = first_fine_bucket(self.candidate, up=False)
        quick = tie if self.tied else slow
        return [
            sum(stable[:quick]),
            sum(stable[quick:slow]),
            sum(stable[slow:]),
            sum(candidate[:late]),
            sum(candidate[late:]),
        ]


def _smooth(part: float, times: Histogram) -> float:
    return (part * times.total + 0.5) / (times.total + 1)


class QuantilePromote:
    """Evidence that the candidate's `q`-quantile is within the margin of stable's.

    Against "the part of the candidate's answers above the margin is at least the part of stable's above its quantile".
    """

    def __init__(self, q: float, times: Histogram, margin: Margin) -> None:
        self.q = q
        self.margin = margin
        self._wealth = Wealth(WEIGHTS, with_reserve=False)
        self._tables: Tables[Bet] = Tables()
        self.threshold: Threshold | None = None
        self.refresh(times)

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence; at log(1/beta) it is shown, with error probability beta."""
        return self._wealth.log

    def refresh(self, times: Histogram) -> None:
        """Take the quantile again from what is known of stable; never while a block is being counted."""
        self._tables.clear()
        if times.total >= LEAST:
            self.threshold = Threshold.of(self.q, times, self.margin)

    def bets(self, p: float, threshold: Threshold) -> tuple[Bet, ...]:
        """Return the bets in force where a coin with `p` sends."""
        believed = threshold.believed
        return self._tables.at(p, lambda: tuple(on_every_answer(p, threshold.slow, part) for part in believed))

    def growth(self, p: float) -> float:
        """Return what an answer of either side adds to the logarithm of the evidence if both are equally quick."""
        return information(p, self.threshold.slow, self.threshold.believed[0]) if self.threshold else 0.0

    def score(self, p: float, classes: Sequence[int]) -> None:
        """Settle the bets on so many answers: stable's quick, tied and slow ones, the candidate's quick and slow."""
        if self.threshold is None:
            return
        quick, ties, slow, candidate_quick, candidate_slow = classes
        tied = self.threshold.tied
        gains = []
        for bet in self.bets(p, self.threshold):
            # What a tie would gain on average if a coin told whether it counts as slow.
            tie = math.log(tied * math.exp(bet.stable_bad) + (1 - tied) * math.exp(bet.stable_ok)) if ties else 0.0
            gains.append(bet.on(quick, slow, candidate_quick, candidate_slow) + ties * tie)
        self._wealth.win(gains)

"""All that is known of latency: evidence for and against the candidate, and what a cold start is forgiven."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from deployer.judge.cuts import BINS
from deployer.judge.histogram import Histogram, bucket, coarsened
from deployer.judge.latency import LatencyAbort
from deployer.judge.margin import Margin
from deployer.judge.quantile import QuantilePromote
from deployer.model import FULL, Coins, Counts

if TYPE_CHECKING:
    from deployer.manifest.models import LatencyLimits

_REFRESH, _REFRESH_MOST = 50, 5000  # times of stable between two refreshes: a quarter of what was seen, within these


@dataclass
class Warmup:
    """Until either is over, latency are not bet on: so many requests, so many seconds since the first answer."""

    requests: int
    seconds: float
    answered: int = 0
    over: bool = False
    _since: float | None = None

    def answer(self, count: int) -> None:
        """Count responses of the candidate."""
        self.answered += count
        if self.answered > self.requests:
            self.over = True

    def at(self, now: float) -> None:
        """Let time go by."""
        if self.over or not self.answered:
            return
        if self._since is None:
            self._since = now
        self.over = now - self._since >= self.seconds


@dataclass(slots=True)
class TimeCell:
    """Good answers since the last look that a coin of one probability sent: by bin, and by class of each proof."""

    stable: list[int] = field(default_factory=lambda: [0] * BINS)
    candidate: list[int] = field(default_factory=lambda: [0] * BINS)
    classes: list[list[int]] = field(default_factory=list)


class TimeEvidence:
    """Evidence for and against the candidate; first count a block, then settle it.

    Cut points and quantiles are those of the last refresh while a block is counted and scored. Only good answers are
    timed: a fast error makes nothing faster.
    """

    def __init__(self, limits: LatencyLimits) -> None:
        self._margin = Margin(limits.margin, 1000 * limits.add)
        self._quantiles = tuple(float(name[1:]) / 100 for name in limits.quantiles)
        self.warmup = Warmup(limits.warmup.requests, limits.warmup.seconds)
        self.times = Histogram()
        self.abort = LatencyAbort(self._margin)
        self.proofs = self._proofs(FULL)
        self._block: dict[float, TimeCell] = {}
        self._unlearned: dict[int, int] = {}
        self._seen, self._refresh_at, self._taught = 0, _REFRESH, 0

    def _proofs(self, following: int) -> list[QuantilePromote]:
        return [QuantilePromote(q, self.times, self._margin.before(following)) for q in self._quantiles]

    def _cell(self, p: float) -> TimeCell:
        cell = self._block.get(p)
        if cell is None:
            cell = self._block[p] = TimeCell(classes=[[0] * 5 for _ in self.proofs])
        return cell

    def count_one(self, p: float, *, candidate: bool, ms: float) -> None:
        """Count one good answer."""
        if not candidate:
            at = bucket(ms)
            self._unlearned[at] = self._unlearned.get(at, 0) + 1
        cuts = self.abort.cuts
        if cuts is None or not self.warmup.over:
            return
        cell = self._cell(p)
        if candidate:
            cell.candidate[cuts.candidate_bin(ms)] += 1
        else:
            cell.stable[cuts.stable_bin(ms)] += 1
        for proof, counts in zip(self.proofs, cell.classes, strict=True):
            limit = proof.threshold
            if limit is not None:
                counts[limit.candidate_class(ms) if candidate else limit.stable_class(ms)] += 1

    def count(self, coins: Coins) -> None:
        """Count the good answers of a sample, rounded so that neither worse nor no worse is easier to show."""
        for at, count in coarsened(coins.stable.latency).items():
            self._unlearned[at] = self._unlearned.get(at, 0) + count
        cuts = self.abort.cuts
        if cuts is None or not self.warmup.over:
            return
        cell, stable, candidate = self._cell(coins.p), coins.stable.latency, coins.candidate.latency
        cell.stable = _sum(cell.stable, cuts.stable_counts(stable))
        cell.candidate = _sum(cell.candidate, cuts.candidate_counts(candidate))
        cell.classes = [
            _sum(counts, proof.threshold.classes(stable, candidate)) if proof.threshold else counts
            for proof, counts in zip(self.proofs, cell.classes, strict=True)
        ]

    def teach(self, stable: Counts) -> None:
        """Learn stable's times from answers that are not bet on."""
        self.score()
        times = coarsened(stable.latency)
        self._learn(times)
        self._taught += sum(times.values())
        if self.abort.cuts is None or self._taught >= _pause(self.times.total):
            self._refresh()
            self._taught = 0

    def score(self) -> None:
        """Score the block with the bets that were fixed before it."""
        for p, cell in self._block.items():
            self.abort.score(p, cell.stable, cell.candidate)
            for proof, counts in zip(self.proofs, cell.classes, strict=True):
                proof.score(p, counts)
        self._block.clear()

    def settle(self, now: float) -> None:
        """Score the block, then learn from it; `now` in seconds."""
        self.score()
        self.warmup.at(now)
        self._learn(self._unlearned)
        self._seen += sum(self._unlearned.values())
        self._unlearned.clear()
        if self._seen >= self._refresh_at:
            self._refresh()
            self._refresh_at = self._seen + _pause(self._seen)
        self.abort.at(now)

    def _learn(self, times: Mapping[int, int]) -> None:
        for at, count in times.items():
            self.times.add(at, count)

    def _refresh(self) -> None:
        self.times.fade()
        self.abort.refresh(self.times)
        for proof in self.proofs:
            proof.refresh(self.times)

    def begin(self, following: int) -> None:
        """Begin a fresh proof that the candidate may have `following` of the traffic (basis points)."""
        self.score()
        self.proofs = self._proofs(following)


def _pause(seen: float) -> int:
    return max(_REFRESH, min(int(seen) // 4, _REFRESH_MOST))


def _sum(a: Sequence[int], b: Sequence[int]) -> list[int]:
    return [x + y for x, y in zip(a, b, strict=True)]

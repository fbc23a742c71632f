"""Is the candidate slower than stable? Bets on the side of an answer, given the bin that its time fell in.

The bins are cut at stable's own quantiles. Predictions of slower candidates are stable's own times, moved: all of them,
or a part of them tenfold. Each bet is made to rise with the bin; so it does not gain for any candidate whose times are
stochastically not larger than stable's, whatever both do meanwhile, and however wrong the predictions are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from deployer.judge.cuts import ALLOWANCE, BINS, Cuts
from deployer.judge.histogram import PER_OCTAVE, Histogram
from deployer.judge.margin import Margin
from deployer.judge.tables import Tables
from deployer.judge.wealth import Wealth

SLOWER = (1.0, 1.2, 1.6, 2.4, 8.0)  # all answers, as multiples of the margin
TAILS = (0.01, 0.05, 0.25)  # this part of the answers ...
TAIL_SLOWER = 10.0  # ... so much slower
LEAST = 200  # times of stable: fewer tell too little of its quantiles
_SMOOTHING = 0.5  # answers that each bin is believed to have had


class BinBet(NamedTuple):
    """Log factors of the wealth for one answer, by side and bin."""

    stable: tuple[float, ...]
    candidate: tuple[float, ...]

    def on(self, stable: Sequence[int], candidate: Sequence[int]) -> float:
        """Return what so many answers gain."""
        return sum(n * log for n, log in zip(stable, self.stable, strict=True) if n) + sum(
            n * log for n, log in zip(candidate, self.candidate, strict=True) if n
        )


def rising(p: float, stable: Sequence[float], candidate: Sequence[float]) -> BinBet:
    """Bet that times fall into the bins in these parts, by factors that never fall from one bin to the next."""
    highest = 0.0
    for_stable: list[float] = []
    for_candidate: list[float] = []
    for s, c in zip(stable, candidate, strict=True):
        highest = max(highest, c / ((1 - p) * s + p * c))
        for_candidate.append(math.log(highest))
        for_stable.append(math.log((1 - p * highest) / (1 - p)))
    return BinBet(tuple(for_stable), tuple(for_candidate))


class LatencyAbort:
    """Evidence that the candidate's good answers are slower than stable's; `cuts` are None until stable is known."""

    def __init__(self, margin: Margin) -> None:
        self._margin = margin
        self._wealth = Wealth([1 / (len(SLOWER) + len(TAILS))] * (len(SLOWER) + len(TAILS)))
        self._tables: Tables[BinBet] = Tables()
        self._stable: list[float] = []
        self._slower: list[list[float]] = []
        self.cuts: Cuts | None = None

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence."""
        return self._wealth.log

    def refresh(self, times: Histogram) -> None:
        """Cut and predict again from what is known of stable; never while a block is being counted."""
        if times.total < LEAST:
            return
        self._tables.clear()
        self.cuts = Cuts.at_quantiles(times, self._margin)
        self._stable = _moved(times, self.cuts, 1.0)
        tail = _moved(times, self.cuts, TAIL_SLOWER / ALLOWANCE)  # the candidate's cuts are higher by the allowance
        self._slower = [_moved(times, self.cuts, self._margin.ratio * by / ALLOWANCE) for by in SLOWER]
        self._slower += [[(1 - part) * s + part * t for s, t in zip(self._stable, tail, strict=True)] for part in TAILS]

    def bets(self, p: float) -> tuple[BinBet, ...]:
        """Return the bets in force where a coin with `p` sends."""
        return self._tables.at(p, lambda: tuple(rising(p, self._stable, slower) for slower in self._slower))

    def score(self, p: float, stable: Sequence[int], candidate: Sequence[int]) -> None:
        """Settle the bets on so many answers per bin."""
        if self.cuts is not None:
            self._wealth.win(bet.on(stable, candidate) for bet in self.bets(p))

    def at(self, now: float) -> None:
        """Let time go by, in seconds."""
        self._wealth.at(now)


def _moved(times: Histogram, cuts: Cuts, factor: float) -> list[float]:
    """Return the part of stable's times in each bin if all were multiplied by `factor`."""
    octaves = PER_OCTAVE * math.log2(factor)
    whole = math.floor(octaves)
    beyond = octaves - whole
    parts = [_SMOOTHING] * BINS
    for at, count in enumerate(times.counts):
        if count:
            parts[cuts.bin_of(at + whole)] += count * (1 - beyond)
            parts[cuts.bin_of(at + whole + 1)] += count * beyond
    return [part / (times.total + _SMOOTHING * BINS) for part in parts]

"""Bets on the side that an answer came from, given what it was: `bad` (an error, or slow) or not."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

from deployer.judge.margin import Margin

HIGHEST_RATE = 1 - 1e-7  # nobody fails always: a single success would ruin who bets on that
_LOWEST_RATE = 1e-12
_NARROWER = 1e-9  # how far a rate stays below what cannot be
_HALVINGS = 60  # of the interval that the least favourable rate lies in: down to the precision of a float


class Bet(NamedTuple):
    """Log factors of the wealth for one answer, by side and outcome."""

    stable_ok: float
    stable_bad: float
    candidate_ok: float
    candidate_bad: float

    def on(self, stable_ok: float, stable_bad: float, candidate_ok: float, candidate_bad: float) -> float:
        """Return what so many answers gain."""
        return (
            stable_ok * self.stable_ok
            + stable_bad * self.stable_bad
            + candidate_ok * self.candidate_ok
            + candidate_bad * self.candidate_bad
        )


def times_odds(rate: float, factor: float) -> float:
    """Return the rate whose odds are `factor` times those of `rate`."""
    return min(HIGHEST_RATE, factor * rate / (1 - rate + factor * rate))


def divergence(a: float, b: float) -> float:
    """Return the Kullback-Leibler divergence of a coin with rate `a` from one with rate `b`, in nats."""
    heads = a * math.log(a / b) if a else 0.0
    tails = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return heads + tails


def information(p: float, stable: float, candidate: float) -> float:
    """Return what an answer tells of its side, in nats, where a coin with `p` sends and the sides have these rates.

    No test of "they are the same" can gain faster while it does not know the common rate.
    """
    mean = (1 - p) * stable + p * candidate
    return (1 - p) * divergence(stable, mean) + p * divergence(candidate, mean)


def on_every_answer(p: float, rate: float, other: float) -> Bet:
    """Bet that the candidate has the rate `other` while stable has `rate`; p is the candidate's share, exactly.

    The most that can be won against "they are the same". Fair if each answer was sent by a coin of its own; losing
    while the candidate's rate lies on the other side of stable's.
    """
    mean = (1 - p) * rate + p * other
    return Bet(
        math.log((1 - rate) / (1 - mean)),
        math.log(rate / mean),
        math.log((1 - other) / (1 - mean)),
        math.log(other / mean),
    )


def on_errors(p: float, rate: float, worse: float) -> Bet:
    """Bet on the side of errors alone; fair as long as the candidate's part of what may fail is p or less."""
    ratio = worse / rate
    mean = 1 - p + p * ratio
    return Bet(0.0, -math.log(mean), 0.0, math.log(ratio / mean))


def against_margin(p: float, rate: float, candidate: float, margin: Margin) -> Bet:
    """Bet that the sides have these rates, against "the candidate's is at the margin or beyond".

    What is beyond the margin is a convex set of pairs of rates, so the likelihood ratio to the pair in it that is
    nearest (in divergence) does not gain for any pair of the set, and nothing grows faster. `candidate` must be below
    the margin. Source: Grünwald, de Heide, Koolen 2024 (reverse information projection).
    """
    stable_there, candidate_there = nearest_beyond(p, rate, candidate, margin)
    return Bet(
        math.log((1 - rate) / (1 - stable_there)),
        math.log(rate / stable_there),
        math.log((1 - candidate) / (1 - candidate_there)),
        math.log(candidate / candidate_there),
    )


@lru_cache(maxsize=256)
def growth_of_proof(p: float, rate: float, margin: Margin) -> float:
    """Return what an answer adds to the logarithm of the best evidence for a candidate that is as good as stable."""
    stable_there, candidate_there = nearest_beyond(p, rate, rate, margin)
    return (1 - p) * divergence(rate, stable_there) + p * divergence(rate, candidate_there)


def nearest_beyond(p: float, rate: float, candidate: float, margin: Margin) -> tuple[float, float]:
    """Return the rates of stable and candidate, at the margin, that are hardest to tell from the ones given.

    They minimise (1-p) KL(rate|x) + p KL(candidate|margin.of(x)), found by halving where the slope changes its sign.
    """
    low, high = _LOWEST_RATE, min(rate, (1 - _NARROWER) / margin.ratio, 1 - _NARROWER - margin.add)
    for _ in range(_HALVINGS):
        x = 0.5 * (low + high)
        y = margin.of(x)
        steep = margin.ratio if margin.ratio * x > x + margin.add else 1.0
        slope = (1 - p) * (x - rate) / (x * (1 - x)) + p * steep * (y - candidate) / (y * (1 - y))
        low, high = (low, x) if slope > 0 else (x, high)
    x = 0.5 * (low + high)
    return x, margin.of(x)

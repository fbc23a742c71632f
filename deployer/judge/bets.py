"""Bets on the side that an answer came from, given what it was."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

from deployer.model import FULL

# Candidates that are bet on: their odds of failing as multiples of the odds at the tolerance, and the part of the
# wealth that each gets. The first is the tolerance itself: what is tolerated loses on average and is not called worse.
ODDS = (1.0, 1.7, 3.0, 6.0, 15.0, 60.0, 1e3, 1e5)
WEIGHTS = (0.18, 0.14, 0.14, 0.12, 0.10, 0.10, 0.10, 0.12)
_BELIEF = 100.0  # requests: so many must contradict the share before it is half given up
_MEMORY = 65536.0  # requests: the measured part is that of the last so many
_HIGHEST_RATE = 1 - 1e-7  # nobody fails always: a single success would ruin who bets on that


class Bet(NamedTuple):
    """Log factors of the wealth for one request, by side and outcome."""

    stable_ok: float
    stable_error: float
    candidate_ok: float
    candidate_error: float


def times_odds(rate: float, factor: float) -> float:
    """Give the rate whose odds are `factor` times those of `rate`."""
    return min(_HIGHEST_RATE, factor * rate / (1 - rate + factor * rate))


def on_every_answer(p: float, rate: float, worse: float) -> Bet:
    """Bet that the candidate fails with `worse` while stable fails with `rate`; p is the candidate's share, exactly.

    The most that can be won, and fair only if each request was sent by a coin of its own.
    """
    mean = (1 - p) * rate + p * worse
    return Bet(
        math.log((1 - rate) / (1 - mean)),
        math.log(rate / mean),
        math.log((1 - worse) / (1 - mean)),
        math.log(worse / mean),
    )


def on_errors(p: float, rate: float, worse: float) -> Bet:
    """Bet on the side of errors alone; fair as long as the candidate's part of the requests is p or less."""
    ratio = worse / rate
    mean = 1 - p + p * ratio
    return Bet(0.0, -math.log(mean), 0.0, math.log(ratio / mean))


@dataclass(frozen=True)
class Part:
    """The candidate's part of the requests when clients are sticky: what the coin says, or more if more was seen.

    Few clients, or one that asks much, make the measured part differ from the share. Taking the larger of the two
    keeps the bets on errors fair when the candidate has the busy clients, and costs little when it has not.
    """

    share: int = 0
    candidate: float = 0.0
    requests: float = 0.0

    @property
    def p(self) -> float:
        """The part to bet with, from what was seen before."""
        p = self.share / FULL
        return max(p, (self.candidate + _BELIEF * p) / (self.requests + _BELIEF))

    def under(self, share: int) -> Part:
        """Start afresh when the share is another one."""
        return self if share == self.share else Part(share)

    def after(self, stable: int, candidate: int) -> Part:
        """Give what is known after so many more requests of both sides."""
        mine, all_of_them = self.candidate + candidate, self.requests + stable + candidate
        fade = min(1.0, _MEMORY / all_of_them) if all_of_them else 1.0
        return Part(self.share, mine * fade, all_of_them * fade)

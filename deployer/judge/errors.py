"""Does the candidate fail more often than stable?

The proxy throws the coin that sends a request to the candidate, so the share is known exactly. If the candidate is not
worse, then *which side* an error fell on is that same coin, whatever the error rate does meanwhile: outages that hit
both sides, bursts, daily cycles and changes of the share are no evidence. Bets on the side, given the outcome, are
therefore fair while the candidate is as good as stable, and lose on average while it is better. The estimate of
stable's rate only makes the bets good ones; it cannot make them unfair, as it comes from before what is bet on.

With sticky clients the coin is thrown once per client. Then only the first error of each client is bet on, whichever
side it fell on: a client that keeps asking, or keeps failing, says nothing new.

Sources: Howard et al. 2021 (bounds by non-negative supermartingales, valid at every time); Lindon et al. 2022
(conditioning on the labels of events); Waudby-Smith and Ramdas 2024 (betting).
"""

from __future__ import annotations

from collections.abc import Sequence

from deployer.judge.bets import Bet, against_margin, on_errors, on_every_answer, times_odds
from deployer.judge.margin import Margin
from deployer.judge.tables import Tables
from deployer.judge.wealth import Wealth

# Candidates that are bet on: their odds of failing as multiples of the odds at the tolerance, and the part of the
# wealth that each gets. The first is the tolerance itself: what is tolerated loses on average and is not called worse.
ODDS = (1.0, 1.7, 3.0, 6.0, 15.0, 60.0, 1e3, 1e5)
WEIGHTS = (0.18, 0.14, 0.14, 0.12, 0.10, 0.10, 0.10, 0.12)
PROOF_WEIGHTS = (0.6, 0.2, 0.2)  # a candidate as good as stable, twice as good, half-way to the margin
_HIGHEST_TOLERATED = 0.999
_LARGEST_ADD = 0.5


def tolerated(margin: Margin, rate: float) -> float:
    """Return the error rate that a candidate may have where stable has `rate`."""
    return min(_HIGHEST_TOLERATED, margin.of(rate))


def provable(margin: Margin) -> Margin:
    """Return the margin with an addition that still leaves rates beyond it."""
    return Margin(margin.ratio, min(_LARGEST_ADD, margin.add))


class ErrorAbort:
    """Evidence that the candidate fails more often than stable."""

    def __init__(self, margin: Margin, *, sticky: bool) -> None:
        self._margin = margin
        self._kind = on_errors if sticky else on_every_answer
        self._wealth = Wealth(WEIGHTS)
        self._tables: Tables[Bet] = Tables()

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence."""
        return self._wealth.log

    def bets(self, p: float, rate: float) -> tuple[Bet, ...]:
        """Return the bets in force where a coin with `p` sends and stable fails with `rate`."""
        limit = tolerated(self._margin, rate)
        return self._tables.at(p, lambda: tuple(self._kind(p, rate, times_odds(limit, factor)) for factor in ODDS))

    def score(self, p: float, rate: float, answers: Sequence[int]) -> None:
        """Settle the bets on so many answers: stable's good and bad, then the candidate's."""
        self._wealth.win([bet.on(*answers) for bet in self.bets(p, rate)])

    def at(self, now: float) -> None:
        """Let time go by, in seconds."""
        self._wealth.at(now)

    def forget_bets(self) -> None:
        """Make bets again: stable's rate has moved."""
        self._tables.clear()


class MarginPromote:
    """Evidence that the candidate's error rate is below the margin: against "it is at the margin or beyond"."""

    def __init__(self, margin: Margin) -> None:
        self.margin = provable(margin)
        self._wealth = Wealth(PROOF_WEIGHTS, with_reserve=False)
        self._tables: Tables[Bet] = Tables()

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence; at log(1/beta) it is shown, with error probability beta."""
        return self._wealth.log

    def bets(self, p: float, rate: float) -> tuple[Bet, ...]:
        """Return the bets in force where a coin with `p` sends and stable fails with `rate`."""
        return self._tables.at(p, lambda: self._made(p, rate))

    def _made(self, p: float, rate: float) -> tuple[Bet, ...]:
        half_way = 0.5 * (rate + min(1.0, self.margin.of(rate)))
        return tuple(against_margin(p, rate, believed, self.margin) for believed in (rate, 0.5 * rate, half_way))

    def score(self, p: float, rate: float, answers: Sequence[int]) -> None:
        """Settle the bets on so many answers: stable's good and bad, then the candidate's."""
        self._wealth.win([bet.on(*answers) for bet in self.bets(p, rate)])

    def forget_bets(self) -> None:
        """Make bets again: stable's rate has moved."""
        self._tables.clear()

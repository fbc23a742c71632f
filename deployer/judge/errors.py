"""Does the candidate fail more often than stable?

The proxy throws the coin that sends a request to the candidate, so the share is known exactly. If the candidate is not
worse, then *which side* an error fell on is that same coin, whatever the error rate does meanwhile: outages that hit
both sides, bursts, daily cycles and changes of the share are no evidence. Bets on the side, given the outcome, are
therefore fair while the candidate is as good as stable, and lose on average while it is better. The estimate of
stable's rate only makes the bets good ones; it cannot make them unfair, as it comes from before what is bet on.

With sticky clients the coin is thrown once per client. Then successes are not bet on, since a client that keeps asking
stable says nothing against the candidate, and the measured part of the requests counts where it is above the share.
The bound then holds for errors of different clients: one client that fails again and again counts each time.

Sources: Howard et al. 2021 (bounds by non-negative supermartingales, valid at every time); Lindon et al. 2022
(conditioning on the labels of events); Waudby-Smith and Ramdas 2024 (betting).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from deployer.judge.bets import ODDS, WEIGHTS, Part, on_errors, on_every_answer, times_odds
from deployer.judge.wealth import Wealth
from deployer.model import FULL, Counts

# What is believed of stable before it was seen: half an error in 500 requests.
_PRIOR_REQUESTS, _PRIOR_ERRORS = 500.0, 0.5
_MEMORY = 65536  # requests; beyond them the past is worth half, and again
_NEWS = 0.01  # a rate that moved by less than this part leaves the bets as they are


@dataclass(frozen=True)
class ErrorJudge:
    """Evidence that the candidate fails more often than stable; all of the wealth is on errors.

    Tolerated is `margin` times stable's rate, or stable's rate plus `add`, whichever is more. `requests` and `errors`
    are stable's, fading; `rate` is what the bets now in force assume of it.
    """

    margin: float = 1.5
    add: float = 0.001
    sticky: bool = False
    wealth: Wealth = field(default_factory=lambda: Wealth.split(WEIGHTS))
    part: Part = field(default_factory=Part)
    rate: float = _PRIOR_ERRORS / _PRIOR_REQUESTS
    requests: float = 0.0
    errors: float = 0.0

    @property
    def log_evidence(self) -> float:
        """Natural logarithm of the evidence; at log(1/alpha) the candidate is worse, with error probability alpha."""
        return self.wealth.log

    @property
    def tolerated(self) -> float:
        """The error rate that a candidate may have now."""
        return min(0.999, max(self.margin * self.rate, self.rate + self.add))

    def after(self, stable: Counts, candidate: Counts, share: int, at: float) -> ErrorJudge:
        """Give the judge after both sides answered so much under `share` (basis points); `at` in seconds.

        A share of nothing or of everything says nothing about the difference: such samples only teach stable's rate.
        """
        judge = self
        if 0 < share < FULL:  # bet first: what the sample teaches must not shape the bets on it
            part = self.part.under(share)
            judge = replace(
                self,
                wealth=self.wealth.won(self._gains(stable, candidate, part)),
                part=part.after(stable.requests, candidate.requests),
            )
        judge = judge._learned(stable)
        return replace(judge, wealth=judge.wealth.at(at))

    def _gains(self, stable: Counts, candidate: Counts, part: Part) -> list[float]:
        kind, p = (on_errors, part.p) if self.sticky else (on_every_answer, part.share / FULL)
        gains = []
        for factor in ODDS:
            bet = kind(p, self.rate, times_odds(self.tolerated, factor))
            gains.append(
                (stable.requests - stable.errors) * bet.stable_ok
                + stable.errors * bet.stable_error
                + (candidate.requests - candidate.errors) * bet.candidate_ok
                + candidate.errors * bet.candidate_error
            )
        return gains

    def _learned(self, stable: Counts) -> ErrorJudge:
        requests, errors = self.requests + stable.requests, self.errors + stable.errors
        while requests > _MEMORY:
            requests, errors = requests / 2, errors / 2
        rate = min(0.5, max(1e-6, (errors + _PRIOR_ERRORS) / (requests + _PRIOR_REQUESTS)))
        moved = abs(rate / self.rate - 1) > _NEWS
        return replace(self, requests=requests, errors=errors, rate=rate if moved else self.rate)

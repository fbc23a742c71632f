"""All that is known of the errors of some requests: those of the whole service, or of one route."""

from __future__ import annotations

from dataclasses import dataclass, field

from deployer.judge.errors import ErrorAbort, MarginPromote, tolerated
from deployer.judge.margin import Margin
from deployer.judge.rate import Rate
from deployer.judge.ratio import RatioSequence
from deployer.model import FULL, Coins


@dataclass(slots=True)
class ErrorCell:
    """Answers since the last look that a coin of one probability sent.

    `answers` are stable's good and bad ones, then the candidate's; `firsts` are clients of stable and of the candidate
    that failed for the first time, where clients are thrown and not requests.
    """

    answers: list[int] = field(default_factory=lambda: [0, 0, 0, 0])
    firsts: list[int] = field(default_factory=lambda: [0, 0])


class ErrorEvidence:
    """Evidence for and against the candidate; first count a block, then settle it.

    The counts of a block are enough for all bets on it, so the work does not depend on the number of requests.
    """

    def __init__(self, margin: Margin, *, sticky: bool) -> None:
        self._margin = margin
        self._sticky = sticky
        self.rate = Rate()
        self.abort = ErrorAbort(margin, sticky=sticky)
        self.proof = MarginPromote(margin.before(FULL))
        self.ratio = RatioSequence()
        self._block: dict[float, ErrorCell] = {}

    @property
    def tolerated(self) -> float:
        """The error rate that a candidate may have now."""
        return tolerated(self._margin, self.rate.value)

    def cell(self, p: float) -> ErrorCell:
        """Return the cell of the block that is being counted."""
        cell = self._block.get(p)
        if cell is None:
            cell = self._block[p] = ErrorCell()
        return cell

    def count(self, coins: Coins) -> None:
        """Count answers of a sample into the block."""
        cell, stable, candidate = self.cell(coins.p), coins.stable, coins.candidate
        more = (stable.requests - stable.errors, stable.errors, candidate.requests - candidate.errors, candidate.errors)
        cell.answers = [a + b for a, b in zip(cell.answers, more, strict=True)]
        cell.firsts = [a + b for a, b in zip(cell.firsts, coins.first_errors, strict=True)]

    def settle(self) -> None:
        """Score the block with the bets that were fixed before it, then learn from it."""
        answers, errors = 0, 0
        for p, cell in self._block.items():
            stable_ok, stable_bad, *candidate = cell.answers
            first_stable, first_candidate = cell.firsts if self._sticky else (stable_bad, candidate[1])
            self.abort.score(
                p, self.rate.value, (0, first_stable, 0, first_candidate) if self._sticky else cell.answers
            )
            self.ratio.add(p, first_stable, first_candidate)
            self.proof.score(p, self.rate.value, cell.answers)
            answers, errors = answers + stable_ok + stable_bad, errors + stable_bad
        self._block.clear()
        self.teach(answers, errors)

    def teach(self, answers: int, errors: int) -> None:
        """Learn stable's rate from answers that are not, or no more, bet on."""
        if self.rate.learn(answers, errors):
            self.abort.forget_bets()
            self.proof.forget_bets()

    def begin(self, following: int) -> None:
        """Begin a fresh proof that the candidate may have `following` of the traffic (basis points)."""
        self.settle()
        self.proof = MarginPromote(self._margin.before(following))

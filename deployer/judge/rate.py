"""What stable's rate of errors is held to be: it only makes bets good ones, it cannot make them unfair."""

from __future__ import annotations

from dataclasses import dataclass

# What is believed of stable before it was seen: half an error in 500 responses.
_PRIOR_ANSWERS, _PRIOR_ERRORS = 500.0, 0.5
MEMORY = 65536  # answers; beyond them the past is worth half, and again
_NEWS = 0.01  # a rate that moved by less than this part leaves the bets as they are


@dataclass
class Rate:
    """Stable's errors, fading; `value` is what the bets in force assume."""

    value: float = _PRIOR_ERRORS / _PRIOR_ANSWERS
    answers: float = 0.0
    errors: float = 0.0

    def learn(self, answers: int, errors: int) -> bool:
        """Learn from answers that were already bet on; return whether bets must be rewritten."""
        self.answers += answers
        self.errors += errors
        while self.answers > MEMORY:
            self.answers, self.errors = self.answers / 2, self.errors / 2
        rate = min(0.5, max(1e-6, (self.errors + _PRIOR_ERRORS) / (self.answers + _PRIOR_ANSWERS)))
        moved = abs(rate / self.value - 1) > _NEWS
        if moved:
            self.value = rate
        return moved

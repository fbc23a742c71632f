"""Is there more of something bad on the candidate than a margin allows, and how clearly?"""

from __future__ import annotations

import math
from dataclasses import dataclass

from deployer.judge.margin import Margin


@dataclass(frozen=True)
class Excess:
    """What is bad of the candidate's `answers`, and of stable's; `part` is what it would be if both were alike.

    Sums over several shares compare each with its own: a service whose errors come and go while the share grows makes
    a candidate look neither better nor worse than it is.
    """

    candidate: float = 0.0
    stable: float = 0.0
    part: float = 0.0
    answers: float = 0.0

    def __add__(self, more: Excess) -> Excess:
        return Excess(
            self.candidate + more.candidate,
            self.stable + more.stable,
            self.part + more.part,
            self.answers + more.answers,
        )

    def beyond(self, margin: Margin, deviations: float) -> bool:
        """Return whether there is more than the margin allows, by so many standard deviations of the difference."""
        by_ratio, by_add = margin.ratio * self.part, self.part + margin.add * self.answers
        allowed = max(by_ratio, by_add)
        follows = by_ratio if by_ratio >= by_add else self.part  # of what is allowed: it varies as stable's does
        variance = allowed + (follows**2 / self.stable if self.stable else 0.0)
        return self.candidate > allowed + deviations * math.sqrt(variance)

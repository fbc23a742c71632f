"""How many answers a verdict takes at the least: what to plan a step with.

These are limits that no test can beat on average (Wald). Ours needs about 1.6 times as many, since it does not know
beforehand what it looks for.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from deployer.judge.bets import growth_of_proof
from deployer.judge.errors import provable
from deployer.judge.margin import Margin
from deployer.model import FULL

if TYPE_CHECKING:
    from deployer.manifest.models import Judge

IN_PRACTICE = 1.6  # times the limit: measured over many settings, between 1.5 and 2
_LOWEST_RATE, _HIGHEST_RATE = 1e-6, 0.5


def answers_needed(judge: Judge, share: int, following: int, error_rate: float) -> int:
    """Return how many answers, of both sides, show at best that a candidate as good as stable may have `following`.

    `share` and `following` in basis points; `error_rate` is stable's. Only errors are reckoned with: how many answers
    the quantiles take depends on how the times are spread. With all users or none on the candidate there is nothing to
    show: then it is `judge.requests`.
    """
    if not 0 < share < FULL:
        return judge.requests
    rate = min(_HIGHEST_RATE, max(_LOWEST_RATE, error_rate))
    margin = provable(Margin(judge.errors.margin, judge.errors.add).before(following))
    return math.ceil(math.log(1 / judge.beta) / growth_of_proof(share / FULL, rate, margin))

"""Judges that hold each interval against fixed numbers, as Flagger and Argo Rollouts do.

Written anew from their documents; where document and program differ, as the program does. Both count failed intervals
from the beginning: one that passes does not take a failed one back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.contenders.interval import total
from bench.traffic.world import Tick
from deployer.model import Counts


@dataclass(frozen=True)
class Rules:
    """What an interval must be like, and how many may be otherwise.

    `interval` in seconds, `success` the least part of good answers, `p99` the longest time in milliseconds if it is
    asked for. The candidate goes at the check after `failures` failed ones if `next_check`, else at the one that makes
    them more than `failures`. `silence` tells whether an interval without answers has failed.
    """

    interval: float
    success: float
    failures: int
    p99: float | None = None
    next_check: bool = False
    silence: bool = False


# Flagger's tutorials: interval 1m, threshold 5, request-success-rate min 99, request-duration max 500 (its p99, in ms).
# The scheduler looks at the number of failed checks before it checks again; no value at all is a failed check.
FLAGGER = Rules(interval=60, success=0.99, failures=5, p99=500, next_check=True, silence=True)
FLAGGER_QUICK = replace(FLAGGER, interval=10)  # the shortest interval that it takes
# Argo Rollouts, the background analysis of its documents: interval 5m, result >= 0.95, failureLimit 3. The run fails
# when there are more failures than that. Without traffic the query gives no number; that is neither.
ARGO = Rules(interval=300, success=0.95, failures=3)


class Thresholds:
    """Counts intervals in which the candidate's answers broke the rules."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._next = rules.interval
        self._seen: list[Counts] = []
        self._failed = 0

    def observe(self, tick: Tick) -> bool:
        """Look at what was answered since the last tick; return whether the candidate must go."""
        self._seen.append(tick.sample.candidate)
        if tick.at < self._next:
            return False
        self._next += self._rules.interval
        if self._rules.next_check and self._failed >= self._rules.failures:
            return True
        seen = total(self._seen, times=self._rules.p99 is not None)
        self._seen.clear()
        self._failed += self._breaks(seen)
        return not self._rules.next_check and self._failed > self._rules.failures

    def _breaks(self, seen: Counts) -> bool:
        rules = self._rules
        if not seen.requests:
            return rules.silence
        p99 = seen.quantile(0.99)
        slow = rules.p99 is not None and p99 is not None and p99 > rules.p99
        return slow or 1 - seen.errors / seen.requests < rules.success

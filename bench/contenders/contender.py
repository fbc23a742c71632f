"""What every judge of the benchmark has in common."""

from __future__ import annotations

from typing import Protocol

from bench.traffic.world import Tick


class Contender(Protocol):
    """A judge that follows one rollout."""

    def observe(self, tick: Tick) -> bool:
        """Look at what was answered since the last tick; return whether the candidate must go."""
        ...

"""How long another host may take before it counts as unreachable: the one table, for ssh and for TLS."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Self

MISSED = 3  # signs of life in a row that may not come; with the next one the connection is lost


@dataclass(frozen=True)
class HostTimeouts:
    """Seconds to connect, between two signs of life, and from the start of ssh to the first word of a command there."""

    connect: int
    alive: int
    greet: float

    @property
    def lost(self) -> int:
        """Return after how many seconds a cable that was pulled has been noticed."""
        return self.alive * (MISSED + 1)

    def by(self, seconds: float) -> Self:
        """Return them for whoever has no more than so many seconds to get there."""
        return replace(self, connect=max(1, min(self.connect, math.ceil(seconds))), greet=min(self.greet, seconds))


QUICK = HostTimeouts(connect=5, alive=2, greet=20.0)  # hosts that a rollout waits for
PATIENT = HostTimeouts(connect=10, alive=5, greet=30.0)  # what may be far away, or has work of minutes to do
OPEN_SECONDS = 8.0  # from the start of ssh to a tunnel that takes connections
END_SECONDS = 2.0  # for an ssh that was told to end
KEPT_SECONDS = 600  # that a shared connection outlives the last who used it: an emergency has none to make then

"""Adds up what the keeper sees of a load, and records it every five minutes."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.core.clock import Clock
from deployer.model import Load
from deployer.model.load import SLOT_SECONDS
from deployer.planning.scaling import GAP_SECONDS
from deployer.store.loads import Loads, SeenLoads


@dataclass
class LoadTally:
    """What was seen of a service since it was recorded last; each look counts until the next one, or until `close`."""

    service: str
    concurrency: int  # as it is now
    loads: Loads
    clock: Clock
    _seen: SeenLoads | None = None
    _last: tuple[float, int, Load] | None = None

    def add(self, size: int, load: Load) -> None:
        """Take a look: so many instances, none where it sleeps, and the load."""
        now = self.clock.monotonic()
        slot = self.clock.now() // SLOT_SECONDS * SLOT_SECONDS
        if self._seen is None or self._seen.at != slot:
            self._record()
            self._seen = SeenLoads(slot)
        self._count(now)
        self._last = now, size, load

    def close(self) -> None:
        """Record what was seen until now."""
        self._count(self.clock.monotonic())
        self._record()
        self._last = None

    def _count(self, now: float) -> None:
        if self._seen is not None and self._last is not None and 0 < now - self._last[0] <= GAP_SECONDS:
            self._seen = self._with(self._seen, now - self._last[0], *self._last[1:])

    def _record(self) -> None:
        if self._seen is not None and self._seen.seconds:
            self.loads.add(self.service, self._seen)
        self._seen = None

    def skip(self) -> None:
        """Take nothing of what is until the next look."""
        self._last = None

    def _with(self, seen: SeenLoads, seconds: float, size: int, load: Load) -> SeenLoads:
        return SeenLoads(
            seen.at,
            seen.seconds + seconds,
            seen.asleep + (0.0 if size else seconds),
            seen.instances + size * seconds,
            seen.room + size * self.concurrency * seconds,
            seen.busy + load.busy * seconds,
            max(seen.peak, load.busy),
        )

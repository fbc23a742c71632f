"""Looks each second whether the engine has started an instance of a live service elsewhere, and has that followed.

The engine is asked only while the proxy finds an instance down: one that serves where it was needs nobody. It is asked
in the middle of a rollout, too, so that nothing waits for a host that was lost there when the rollout has ended.
"""

from __future__ import annotations

from deployer.app.keeper.free import is_free
from deployer.app.operations import AppContext
from deployer.app.operations.adjust import keep
from deployer.drivers.ports import Drivers, standing
from deployer.engine import RolloutResult
from deployer.model import Release

LOOK_SECONDS = 1.0  # between two looks


def moves(drivers: Drivers, release: Release) -> bool:
    """Return whether users of a release have to follow its instances to other hosts."""
    return release.served and drivers.runtime.moves


class MoveWatch:
    """Watches one service, for as long as its live release is one whose instances move."""

    def __init__(self, house: AppContext, service: str) -> None:
        self._house, self._service = house, service
        self._number = 0
        self._drivers: Drivers | None = None  # of the live release, if it is one

    def lasts(self) -> bool:
        """Return whether it is still to be watched; know the release that is live now."""
        store, service = self._house.store, self._service
        number = store.services.get(service).stable
        if number != self._number:
            release = store.releases.get(service, number) if number else None
            drivers = self._house.drivers(release) if release else None
            self._number, self._drivers = number, drivers if release and drivers and moves(drivers, release) else None
        return self._drivers is not None

    def look(self) -> RolloutResult | None:
        """Look once, and have an instance followed that is elsewhere. Raise Locked while others are at work."""
        if not self.lasts() or not self._is_elsewhere() or not is_free(self._house, self._service):
            return None
        return keep(self._house, self._service)

    def _is_elsewhere(self) -> bool:
        """Return whether an instance runs at another address than the one at which the proxy finds it down."""
        drivers, service = self._drivers, self._service
        live = drivers.traffic.read(service) if drivers else None
        if drivers is None or live is None:
            return False
        down = {s.name: s.address for s, up in drivers.traffic.servers(service, live.stable) if not up}
        there = standing(drivers.runtime, service).instances if down else ()
        return any(i.state == "running" and down.get(i.name, i.address) != i.address for i in there)

"""Looks each second whether the engine has started an instance of a live service elsewhere, and has that followed.

The engine is asked only while the proxy finds an instance down: one that serves where it was needs nobody. It is asked
in the middle of a rollout, too, so that nothing waits for a host that was lost there when the rollout has ended.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployer.app.keeper.free import is_free
from deployer.app.operations import AppContext
from deployer.app.operations.adjust import keep
from deployer.app.operations.execution import ADJUSTING, hands, locked
from deployer.drivers.ports import Drivers, standing
from deployer.engine import RolloutResult
from deployer.model import Instance, Release

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
        """Look once, and have an instance followed that is elsewhere. Raise Locked while others are at work.

        One that is stranded is moved: it is elsewhere at a later look.
        """
        drivers = self._drivers if self.lasts() else None
        down = self._down(drivers) if drivers else {}
        if not drivers or not down or not is_free(self._house, self._service):
            return None
        there = standing(drivers.runtime, self._service).instances
        if stranded := [i for i in there if i.stranded and i.name in down]:
            self._move(drivers, stranded)
        elsewhere = any(i.state == "running" and down.get(i.name, i.address) != i.address for i in there)
        return keep(self._house, self._service) if elsewhere else None

    def _down(self, drivers: Drivers) -> dict[str, str]:
        """Return the instances that the proxy finds down, and where it looks for them."""
        live = drivers.traffic.read(self._service)
        servers = drivers.traffic.servers(self._service, live.stable) if live else ()
        return {server.name: server.address for server, is_up in servers if not is_up}

    def _move(self, drivers: Drivers, stranded: Sequence[Instance]) -> None:
        with locked(self._house, self._service, f"{ADJUSTING} where instances are") as lock:
            mover = hands(self._house, lock, drivers).mover
            for instance in stranded:
                if mover and mover.move(instance):
                    text = f"{instance.host} is lost: {instance.name} is started on another host"
                    self._house.tell(self._service, text)

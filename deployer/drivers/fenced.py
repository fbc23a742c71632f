"""Drivers behind the fence: whatever changes the world is done inside it, whoever calls and from wherever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import wraps
from typing import TYPE_CHECKING, Any, cast

from deployer.core.errors import LockLost

if TYPE_CHECKING:
    from deployer.core.clock import Deadline
    from deployer.drivers.jobs import JobRuntime
    from deployer.drivers.ports import Drivers, Playbooks, RuntimeCare, ShownCertificates, Traffic, TrafficUpkeep
    from deployer.drivers.ports.guests import Guests
    from deployer.drivers.ports.moving import Mover
    from deployer.drivers.ports.pausing import Pauser
    from deployer.drivers.ports.sleeping import Sleeper
    from deployer.model import Live

Fence = Callable[[], AbstractContextManager[None]]  # entered before a change; raises where it may not be made

# Of each driver, the calls that change what users meet. All others only ask, or fetch what changes nothing yet.
CHANGES = {
    "runtime": frozenset({"ensure", "run", "remove", "prune", "collect_garbage"}),
    "traffic": frozenset(
        {
            "configure",
            "set_traffic",
            "introduce",
            "attach",
            "drain",
            "hand_over",
            "detach",
            "forget",
            "retry_lost",
        }
    ),
    "upkeep": frozenset({"repair", "bring_back", "take_out", "put_back"}),
    "playbooks": frozenset({"play", "command"}),
    "jobs": frozenset({"start", "remove"}),
    "certificates": frozenset({"install"}),
    "sleeper": frozenset({"sleep"}),
    "guests": frozenset({"freeze"}),
    "pauser": frozenset({"pause"}),
    "mover": frozenset({"move"}),
}


@dataclass(frozen=True)
class Owner:
    """Whoever has the lock of a service: `changing` is entered before a change."""

    lock: object
    token: int
    changing: Fence
    outlive: Callable[[int], None]  # give later owners greater tokens than this; raise LockLost without the lock


class _Fenced:
    """Stands for a driver and has all that it has."""

    def __init__(self, driver: Any, changes: frozenset[str], owner: Owner) -> None:
        self._driver, self._changes, self._owner = driver, changes, owner

    def is_of(self, owner: Owner) -> bool:
        """Return whether it stands behind the fence of an owner."""
        return bool(self._owner.lock == owner.lock)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        return _inside(self._owner.changing, found) if name in self._changes else found


class _FencedTraffic(_Fenced):
    """Stands for a proxy: each live value that is written has the token of its owner."""

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value. Raise LockLost when a later owner has written, be it that the fence was passed before."""
        with self._owner.changing():
            try:
                self._driver.set_traffic(service, replace(live, token=self._owner.token), deadline, given)
            except LockLost:
                # Whoever has the lock all the same has a store that is older than what runs: it was lost, or restored.
                there = self._driver.read(service)
                token = there.token if there else 0
                self._owner.outlive(token)
                self._driver.set_traffic(service, replace(live, token=token), deadline, given)


def _inside(fence: Fence, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def fenced(*given: Any, **named: Any) -> Any:
        with fence():
            return call(*given, **named)

    return fenced


def fenced(drivers: Drivers, owner: Owner) -> Drivers:
    """Return the same drivers, each of whose changes is made inside the fence of an owner; once is enough."""
    changing: tuple[object, ...] = (drivers.runtime, drivers.traffic, drivers.upkeep, drivers.playbooks)
    if all(isinstance(driver, _Fenced) and driver.is_of(owner) for driver in changing):
        return drivers
    shown, sleeper = drivers.certificates, drivers.sleeper
    guests, pauser, mover = drivers.guests, drivers.pauser, drivers.mover
    return replace(
        drivers,
        runtime=cast("RuntimeCare", _Fenced(drivers.runtime, CHANGES["runtime"], owner)),
        traffic=cast("Traffic", _FencedTraffic(drivers.traffic, CHANGES["traffic"], owner)),
        upkeep=cast("TrafficUpkeep", _Fenced(drivers.upkeep, CHANGES["upkeep"], owner)),
        jobs=cast("JobRuntime", _Fenced(drivers.jobs, CHANGES["jobs"], owner)),
        certificates=shown and cast("ShownCertificates", _Fenced(shown, CHANGES["certificates"], owner)),
        guests=guests and cast("Guests", _Fenced(guests, CHANGES["guests"], owner)),
        sleeper=sleeper and cast("Sleeper", _Fenced(sleeper, CHANGES["sleeper"], owner)),
        pauser=pauser and cast("Pauser", _Fenced(pauser, CHANGES["pauser"], owner)),
        mover=mover and cast("Mover", _Fenced(mover, CHANGES["mover"], owner)),
        playbooks=cast("Playbooks", _Fenced(drivers.playbooks, CHANGES["playbooks"], owner)),
    )

"""Drivers behind the fence: whatever changes the world is done inside it, whoever calls and from wherever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import wraps
from typing import Any, cast

from deployer.drivers.jobs import JobRuntime
from deployer.drivers.ports import Drivers, Playbooks, RuntimeCare, ShownCertificates, Traffic, TrafficUpkeep
from deployer.drivers.ports.sleeping import Sleeper

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
        }
    ),
    "upkeep": frozenset({"repair", "bring_back", "take_out", "put_back"}),
    "playbooks": frozenset({"play", "command"}),
    "jobs": frozenset({"start", "remove"}),
    "certificates": frozenset({"install"}),
    "sleeper": frozenset({"sleep"}),
}


class _Fenced:
    """Stands for a driver and has all that it has."""

    def __init__(self, driver: object, changes: frozenset[str], fence: Fence, owner: object) -> None:
        self._driver, self._changes, self._fence, self._owner = driver, changes, fence, owner

    def is_of(self, owner: object) -> bool:
        """Return whether it stands behind the fence of an owner."""
        return bool(self._owner == owner)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        return _inside(self._fence, found) if name in self._changes else found


def _inside(fence: Fence, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def fenced(*given: Any, **named: Any) -> Any:
        with fence():
            return call(*given, **named)

    return fenced


def fenced(drivers: Drivers, fence: Fence, owner: object) -> Drivers:
    """Return the same drivers, each of whose changes is made inside the fence of an owner; once is enough."""
    changing: tuple[object, ...] = (drivers.runtime, drivers.traffic, drivers.upkeep, drivers.playbooks)
    if all(isinstance(driver, _Fenced) and driver.is_of(owner) for driver in changing):
        return drivers
    shown, sleeper = drivers.certificates, drivers.sleeper
    return replace(
        drivers,
        runtime=cast(RuntimeCare, _Fenced(drivers.runtime, CHANGES["runtime"], fence, owner)),
        traffic=cast(Traffic, _Fenced(drivers.traffic, CHANGES["traffic"], fence, owner)),
        upkeep=cast(TrafficUpkeep, _Fenced(drivers.upkeep, CHANGES["upkeep"], fence, owner)),
        jobs=cast(JobRuntime, _Fenced(drivers.jobs, CHANGES["jobs"], fence, owner)),
        certificates=shown and cast(ShownCertificates, _Fenced(shown, CHANGES["certificates"], fence, owner)),
        sleeper=sleeper and cast(Sleeper, _Fenced(sleeper, CHANGES["sleeper"], fence, owner)),
        playbooks=cast(Playbooks, _Fenced(drivers.playbooks, CHANGES["playbooks"], fence, owner)),
    )

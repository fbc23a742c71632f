"""Drivers behind the fence: whatever changes the world is done inside it, whoever calls and from wherever."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import wraps
from typing import Any, cast

from deployer.drivers.ports import Drivers, Playbooks, Runtime, Traffic

Fence = Callable[[], AbstractContextManager[None]]  # entered before a change; raises where it may not be made

# Of each driver, the calls that change what users meet. All others only ask, or fetch what changes nothing yet.
CHANGES = {
    "runtime": frozenset({"ensure", "remove", "prune", "collect_garbage"}),
    "traffic": frozenset({"configure", "set_traffic", "attach", "drain", "hand_over", "detach", "forget", "repair"}),
    "playbooks": frozenset({"play"}),
}


class _Fenced:
    """Stands for a driver and has all that it has."""

    def __init__(self, driver: object, changes: frozenset[str], fence: Fence) -> None:
        self._driver, self._changes, self._fence = driver, changes, fence

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        return _inside(self._fence, found) if name in self._changes else found


def _inside(fence: Fence, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def fenced(*given: Any, **named: Any) -> Any:
        with fence():
            return call(*given, **named)

    return fenced


def fenced(drivers: Drivers, fence: Fence) -> Drivers:
    """Give the same drivers, each of whose changes is made inside the fence."""
    return replace(
        drivers,
        runtime=cast(Runtime, _Fenced(drivers.runtime, CHANGES["runtime"], fence)),
        traffic=cast(Traffic, _Fenced(drivers.traffic, CHANGES["traffic"], fence)),
        playbooks=cast(Playbooks, _Fenced(drivers.playbooks, CHANGES["playbooks"], fence)),
    )

"""Instances: what one must be, what one is, and how those of a place are numbered and spread over hosts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from deployer.core.secret import SecretText
from deployer.model.places import Place
from deployer.model.release import Release


@dataclass(frozen=True)
class Instance:
    """One container or process, as the runtime sees it now.

    `address` is where the proxy and the health checks reach it, `host:port`; `runtime_id` names it to its
    runtime; `host` is the host of the inventory that it stands on, "" for this one. One that is `paused` keeps its
    memory, gets no processor time and answers nobody. `drift` says what somebody else has changed of it since it was
    made, where its runtime can tell; "" for nothing. One that is `stranded` ran on a host that its engine knows to be
    lost, and which the engine nevertheless waits for before it starts it elsewhere.
    """

    service: str
    colour: Place
    release: int
    index: int
    name: str
    runtime_id: str
    address: str
    state: Literal["created", "running", "paused", "exited"]
    health: Literal["none", "starting", "healthy", "unhealthy"] = "none"
    exit_code: int | None = None
    config_hash: str = ""
    restarts: int = 0
    rollout: int = 0
    host: str = ""
    drift: str = ""
    stranded: bool = False


@dataclass(frozen=True)
class InstanceSpec:
    """What an instance must be; `Runtime.ensure` makes it so."""

    release: Release
    colour: Place
    index: int
    rollout: int
    address: str  # host:port handed out by the store; it stays the same across restarts
    secrets: dict[str, SecretText] = field(default_factory=dict)
    host: str = ""  # the host of the inventory on which it is to stand; "" is this one

    @property
    def name(self) -> str:
        """Name of the instance, unique on all hosts: `shop-r42-1`."""
        return f"{self.release.service}-r{self.release.number}-{self.index}"


def join(address: str, port: int) -> str:
    """Write an address with a port, IPv6 in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def numbers_of(service: str, name: str) -> tuple[int, int]:
    """Read release and index out of the name of an instance; 0 and 0 for a name that is none of the service's."""
    number, _, index = name.removeprefix(f"{service}-r").partition("-")
    there = name.startswith(f"{service}-r") and number.isdigit() and index.isdigit()
    return (int(number), int(index)) if there else (0, 0)


def release_of(service: str, name: str) -> int:
    """Read the release out of the name of an instance; 0 for a name that is none of the service's."""
    return numbers_of(service, name)[0]


MOST_INSTANCES = 10_000  # of one release in one place, over all hosts


def indices(place: Place, instances: int, hosts: Sequence[str] = ()) -> range:
    """Return the numbers of instances in a place: from 1 up; from 101 for a baseline, 10001 where there are hosts.

    A baseline runs beside instances of the same release, of which there are 100 at most on a host: neither names
    nor addresses meet.
    """
    first = 1 if place != "baseline" else MOST_INSTANCES + 1 if hosts else 101
    return range(first, first + instances)


def spread(place: Place, instances: int, hosts: Sequence[str]) -> dict[int, str]:
    """Return on which host each instance of a place stands: by turns, so that the first few are spread as all are."""
    numbers = indices(place, instances, hosts)
    return {index: hosts[n % len(hosts)] if hosts else "" for n, index in enumerate(numbers)}


@dataclass(frozen=True)
class Environment:
    """The instances of one release in one place."""

    service: str
    colour: Place
    release: int
    instances: tuple[Instance, ...]

    def healthy(self) -> tuple[Instance, ...]:
        """Return the instances that run and are not known to be ill."""
        return tuple(i for i in self.instances if i.state == "running" and i.health != "unhealthy")

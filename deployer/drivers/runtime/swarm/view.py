"""What the Swarm says: its nodes, and services of ours with their tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, HostsUnreachable
from deployer.core.events import Tell
from deployer.core.retrying import retry
from deployer.drivers.ports import ELECTION_SECONDS
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.options import PREFIX
from deployer.drivers.runtime.swarm import api, options
from deployer.drivers.runtime.swarm.managers import (
    READ_SECONDS,
    WRITE_SECONDS,
    Managers,
    leaderless,
)
from deployer.drivers.runtime.swarm.nodes import Links, Placing, placing
from deployer.drivers.runtime.swarm.options import Node, Standing

if TYPE_CHECKING:
    import docker

T = TypeVar("T")
AGAIN_SECONDS = 1.0


@dataclass(frozen=True)
class Seen:
    """What a manager said: nodes by id, services with their tasks, and why nothing can be changed, if so."""

    nodes: Mapping[str, Node]
    standing: tuple[Standing, ...]
    trouble: str


class SwarmView:
    """Asks a manager by `engines`, links to nodes; `wanted` are the hosts on which instances may stand, all if none.

    `addresses` are those of hosts in the inventory.
    """

    def __init__(
        self, installation: str, engines: Sequence[FleetHost], wanted: Sequence[str], addresses: Mapping[str, str]
    ) -> None:
        self.engines, self.managers, self.links = tuple(engines), Managers(engines), Links(engines, addresses)
        self.installation, self._wanted = installation, tuple(wanted)

    def ask(self, what: str, work: Callable[[docker.DockerClient], T], seconds: float = READ_SECONDS) -> T:
        """Let a manager do something. Raise HostsUnreachable, of all hosts, where none responds."""
        try:
            return self.managers.ask(what, work, seconds)
        except HostsUnreachable as error:
            why = "; ".join(dict.fromkeys(error.silent.values()))
            raise HostsUnreachable(self.silent(f"no manager of the Swarm does what it is asked: {why}")) from error

    def change(self, what: str, work: Callable[[docker.DockerClient], T]) -> T:
        """Let a manager change something; return what came of it."""
        return self.ask(what, work, WRITE_SECONDS)

    def silent(self, why: str) -> dict[str, str]:
        """Return for every host why it does not do what it is told."""
        return dict.fromkeys(self._wanted or ("",), why)

    def read(self, labels: Sequence[str]) -> Seen:
        """Read the nodes, and the services with these labels and their tasks; without labels the nodes alone."""

        def read(client: docker.DockerClient) -> tuple[list[Any], list[Any], list[Any]]:
            services = api.services(client, labels) if labels else []
            return client.api.nodes(), services, api.tasks(client, services)

        self.links.by_node()  # first, as it waits for hosts that are lost: what is read afterwards is new
        nodes, services, tasks = self.ask("services of the Swarm", read)
        standing = tuple(Standing.of(service, tasks) for service in services)
        return Seen(self.links.nodes(nodes), standing, leaderless(nodes))

    def ours(self, **labels: str) -> Seen:
        """Read what is of this installation and has these labels."""
        wanted = {"installation": self.installation, **labels}
        seen = self.read([f"{PREFIX}{key}={value}" for key, value in wanted.items()])
        return Seen(seen.nodes, tuple(each for each in seen.standing if self.is_mine(each.service)), seen.trouble)

    def is_mine(self, service: Mapping[str, Any]) -> bool:
        """Return whether a service is an instance of this installation."""
        owner = (service["Spec"].get("Labels") or {}).get(f"{PREFIX}installation")
        return owner == self.installation and options.made(service)

    def heartbeat(self) -> float:
        """Return how often nodes tell the managers that they are there, in seconds."""

        def read(client: docker.DockerClient) -> float:
            return int(client.api.inspect_swarm()["Spec"]["Dispatcher"]["HeartbeatPeriod"]) / options.NANO

        return self.ask("the Swarm", read)

    def find(self, name: str) -> dict[str, Any] | None:
        """Read a service; None where there is none of that name."""
        return self.ask(name, lambda client: api.service(client, name))

    def standing(self, name: str) -> Standing:
        """Read a service with its tasks. Raise DriverFailed where it is gone."""

        def read(client: docker.DockerClient) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
            found = api.service(client, name)
            return found, api.tasks(client, [found]) if found else []

        service, tasks = self.ask(name, read)
        if service is None:
            raise DriverFailed(f"{name} is gone from the Swarm", "is another program removing it?")
        return Standing.of(service, tasks)

    def elected_place(self, deadline: Deadline, tell: Tell) -> Placing:
        """Return what `place` does, once the managers have a leader: where that was lost, they elect another one."""
        waits = False

        def look() -> Placing:
            nonlocal waits
            try:
                return self.place()
            except HostsUnreachable as error:
                if not waits:
                    why = "; ".join(dict.fromkeys(error.silent.values()))
                    tell("note", text=f"waiting up to {ELECTION_SECONDS:g} s, as a leader may be elected: {why}")
                waits = True
                raise

        patience = Deadline.after(deadline.clock, min(ELECTION_SECONDS, deadline.left()))
        return retry(look, patience, HostsUnreachable, pauses=(AGAIN_SECONDS,))

    def place(self) -> Placing:
        """Return where instances may stand. Raise DriverFailed where there is nowhere, or nothing can be changed."""
        links, seen = self.links.by_node(), self.read([])
        if seen.trouble:
            raise HostsUnreachable(self.silent(seen.trouble))
        return placing(seen.nodes, links, self._wanted)

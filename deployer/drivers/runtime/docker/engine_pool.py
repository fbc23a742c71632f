"""The engines that one command reaches: each host by one link, however many services and rollouts ask for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.core.host import LOCAL, Host, ServiceHosts
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.fleet import DockerFleet
from deployer.drivers.runtime.docker.fleet_data import FleetData
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.ground import HostGround, by_ssh
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from deployer.drivers.runtime.docker.ssh_engine import SshEngine
from deployer.drivers.runtime.docker.tls_engine import TlsEngine

if TYPE_CHECKING:
    from deployer.manifest.sections import Mount

READ_SECONDS = 10.0  # for a call that only asks: with an ssh that has to be opened first it stays below the promised 20


class EnginePool:
    """Makes fleets; `close` ends every link. Links open when they are first used."""

    def __init__(self, clock: Clock, installation: str, home: str) -> None:
        self._clock, self._installation, self._home = clock, installation, home
        self._mutex = threading.Lock()
        self._members: dict[Host, FleetHost] = {}
        self._links: list[SshEngine | TlsEngine] = []

    def fleet(self, hosts: ServiceHosts) -> DockerFleet:
        """Return the runtime on these hosts; images come from the engine of this one where there is one."""
        return DockerFleet(self.links(hosts.every), {host.name for host in hosts.wanted}, self._member(LOCAL))

    def links(self, hosts: Sequence[Host]) -> list[FleetHost]:
        """Return the ways to the engines of some hosts."""
        return [self._member(host) for host in hosts]

    def data(self, hosts: Sequence[Host], mounts: Sequence[Mount], folder: Path) -> FleetData:
        """Return the data of a service on these hosts; `folder` is for a lock."""
        return FleetData([self._member(host) for host in hosts], self._member(LOCAL), mounts, folder)

    def close(self) -> None:
        """End all links."""
        with self._mutex:
            links, self._links = self._links, []
            self._members.clear()
        for link in links:
            link.close()

    def _member(self, host: Host) -> FleetHost:
        with self._mutex:
            if host not in self._members:
                self._members[host] = self._made(host)
            return self._members[host]

    def _made(self, host: Host) -> FleetHost:
        engine, ground = Engine(call=READ_SECONDS), None
        if host.engine or host.connection != "local":
            link = TlsEngine(host) if host.engine else SshEngine(host, self._clock)
            self._links.append(link)
            to = host.engine or host.ssh_host
            where = host.name if to == host.name else f"{host.name} ({to})"
            engine = Engine(link.connect, where, READ_SECONDS)
            ground = None if host.engine else HostGround(by_ssh(host), host.name)
        runtime = DockerRuntime(self._clock, self._installation, engine, self._home, ground)
        return FleetHost(host.name, engine, runtime, self._clock)

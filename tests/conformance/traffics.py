"""The traffic layers under test, each with what the suite needs around it: instances behind it, and a clean end."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.ports import TrafficLayer
from deployer.drivers.traffic.proxyless import ProxylessTraffic
from deployer.manifest.models import Manifest
from deployer.model import Instance, Place, Release, Server
from tests.live.proxies import Bench, label
from tests.live.upstream import Upstream
from tests.memory import MemoryRuntime, MemoryTraffic, World
from tests.ports import free_port

_numbers = itertools.count(1)


class TrafficBench(ABC):
    """One traffic layer, empty, with instances that can be started and ended."""

    traffic: TrafficLayer

    def __init__(self) -> None:
        self.port = free_port()

    def release(self, service: str) -> Release:
        """Make a release of a service; services share one entry and are told apart by name."""
        number = next(_numbers)
        manifest = Manifest.model_validate(
            {
                "service": service,
                "image": "app:1",
                "port": 80,
                "health": {"http": "/up"},
                "traffic": {"listen": f"127.0.0.1:{self.port}", "domains": [f"{service}.example.com"]},
            }
        )
        return Release(service, number, str(number), "app:1", "sha256:1", manifest, f"h{number}")

    def within(self, seconds: float = 60.0) -> Deadline:
        """Return a deadline on the clock of this layer."""
        return Deadline.after(SystemClock(), seconds)

    @abstractmethod
    def start(self, name: str, service: str, place: Place) -> Server:
        """Start an instance that is well in a place of a service."""

    @abstractmethod
    def end(self, server: Server) -> None:
        """End an instance at once; returns when the traffic layer has seen it."""

    @abstractmethod
    def close(self) -> None:
        """Leave nothing behind."""


class HAProxyBench(TrafficBench):
    """A real HAProxy, our own or a team's, with real upstreams."""

    def __init__(self, folder: Path, program: Path, *, team: bool) -> None:
        super().__init__()
        self._bench = Bench(folder, program, team=team)
        self.traffic = self._bench.traffic
        self._upstreams: dict[str, Upstream] = {}

    @staticmethod
    def label(program: Path, team: bool) -> str:
        return f"{label(program)}{'-team' if team else ''}"

    def start(self, name: str, service: str, place: Place) -> Server:
        upstream = Upstream(name).__enter__()
        self._upstreams[name] = upstream
        return Server(name, upstream.address)

    def end(self, server: Server) -> None:
        self._upstreams[server.name].stop()
        self.within().until(lambda: not self._up(server.name), f"the proxy sees that {server.name} is gone")

    def _up(self, name: str) -> bool:
        both = [*self.traffic.servers("shop", "blue"), *self.traffic.servers("shop", "green")]
        return any(up for server, up in both if server.name == name)

    def close(self) -> None:
        try:
            self._bench.close()
        finally:
            for upstream in self._upstreams.values():
                upstream.stop()


class MemoryBench(TrafficBench):
    """The traffic layer that the engine's own tests run on: it must keep the same promises."""

    def __init__(self) -> None:
        super().__init__()
        self._world = World(rate=0)
        self.traffic = self._made()

    def _made(self) -> TrafficLayer:
        return MemoryTraffic(self._world)

    def start(self, name: str, service: str, place: Place) -> Server:
        address = f"127.0.0.1:{21000 + next(_numbers)}"
        self._world.instances[name] = Instance(service, place, 1, 1, name, name, address, "running")
        return Server(name, address)

    def end(self, server: Server) -> None:
        self._world.instances[server.name] = replace(self._world.instances[server.name], state="exited")

    def close(self) -> None:
        """Nothing stays of a world in memory."""


class ProxylessBench(MemoryBench):
    """The traffic layer of services without a port, over instances in memory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        super().__init__()

    def _made(self) -> TrafficLayer:
        return ProxylessTraffic(self._folder, MemoryRuntime(self._world))

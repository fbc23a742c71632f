"""What the drivers of one proxy work on together, each for its part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.clock import Clock, Deadline
from deployer.drivers.traffic.haproxy.division import Division
from deployer.drivers.traffic.haproxy.endpoint_files import Cards, card_of
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.places import Places
from deployer.drivers.traffic.haproxy.proxy import OwnProxy, Proxy, TeamProxy
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts

if TYPE_CHECKING:
    from deployer.manifest.models import HAProxy

READ_WITHIN = 10.0  # seconds for calls that have no deadline of their own


class Parts:
    """The proxy itself, its folder, and what can be seen and changed of it."""

    def __init__(
        self, folder: Path, clock: Clock, existing: HAProxy | None, program: Path | None, state: Path | None
    ) -> None:
        self.clock = clock
        self.proxy: Proxy = TeamProxy(existing, clock) if existing else OwnProxy(folder.absolute(), clock, program)
        self.home = self.proxy.home
        self.cards = Cards(state, card_of(self.proxy.master.path, self.home).text())
        self.live = LiveMap(self.proxy.master, self.home.state)
        self.servers = Servers(self.proxy.master)
        self.places = Places(self.home, self.proxy.master, self.servers, clock)
        self.division = Division(self.home, self.live, self.places, clock)

    @contextmanager
    def answering(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock of the folder, of a proxy that answers."""
        with self.home.locked(deadline):
            self.proxy.ready(deadline)
            yield

    def facts(self, service: str) -> SpecFacts:
        """Return what the proxy's files say about a service."""
        return SpecFacts(self.home.services, service)

    def soon(self, seconds: float | None = None) -> Deadline:
        """Return the deadline of a call that has none of its own, or of so many seconds if that is sooner."""
        return Deadline.after(self.clock, READ_WITHIN if seconds is None else min(READ_WITHIN, seconds))

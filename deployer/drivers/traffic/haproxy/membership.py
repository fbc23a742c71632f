"""What a proxy does as one of several, and while something is done to its host."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline
from deployer.drivers.ports import Traffic
from deployer.drivers.traffic.haproxy import entries, joining, reload, request_stream, spec
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.model import Live

if TYPE_CHECKING:
    from deployer.model import Waiting


class HAProxyMembership:
    """Serves a service as the others do, gives them what it knows and sees, and takes no connections for a while."""

    def __init__(self, traffic: Traffic, parts: Parts) -> None:
        self._traffic, self._parts = traffic, parts

    def spec(self, service: str) -> str | None:
        """Return what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        known = spec.load(self._parts.home.services, service)
        return known.model_dump_json() if known else None

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does, of which this is the `spec` and the live value."""
        wanted, known = spec.Spec.model_validate_json(text), spec.load(self._parts.home.services, service)
        with self._parts.home.locked(deadline):
            reload.change(self._parts.proxy, self._parts.live, wanted.bare().keeping(known), deadline)
        joining.move(self._traffic, wanted, known, live, deadline)
        self._parts.cards.write(service)

    def stream(self, service: str, feed: request_stream.Feed) -> AbstractContextManager[request_stream.Requests]:
        """Have `feed` get the requests of the service."""
        spec.require(self._parts.home.services, service)
        self._parts.proxy.ready(self._parts.soon())
        return request_stream.RequestStream(
            service,
            self._parts.proxy,
            self._parts.clock,
            lambda: self._parts.division.share(service),
            feed,
            lambda: self._waiting(service),
        )

    def _waiting(self, service: str) -> Waiting | None:
        entry = spec.require(self._parts.home.services, service).entry
        return self._parts.division.waiting(service, entry, self._parts.soon())

    def close_entries(self, deadline: Deadline) -> int:
        """Take no new connections; return how many requests are open at the deadline."""
        return entries.Entries(self._parts.proxy.master).close(deadline)

    def open_entries(self, deadline: Deadline) -> None:
        """Take new connections again."""
        entries.Entries(self._parts.proxy.master).open(deadline)

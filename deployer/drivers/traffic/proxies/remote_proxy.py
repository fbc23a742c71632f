"""One proxy on another host: its driver, through a channel."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from ipaddress import ip_address
from urllib.parse import urlsplit

from deployer.core.clock import Clock, Deadline
from deployer.core.host import Host
from deployer.drivers.ports import Samples
from deployer.drivers.traffic.alone import Alone
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import counted
from deployer.drivers.traffic.proxies import protocol
from deployer.drivers.traffic.proxies.remote_calls import RemoteCalls
from deployer.drivers.traffic.proxies.remote_parts import (
    RemoteCertificates,
    RemoteInspection,
    RemoteMembership,
    RemoteUpkeep,
)
from deployer.manifest.models import HAProxy
from deployer.model import Live, Place, Release, Server, join


class RemoteProxy(Alone):
    """The driver of the proxy of a host. It opens its channel with the first call, and again when it was lost."""

    def __init__(self, host: Host, proxy: HAProxy, clock: Clock, control: str = "") -> None:
        self._host = host
        self._calls = RemoteCalls(host, proxy, clock, control)
        self._call = self._calls.call
        self.inspection = RemoteInspection(self, self._call)
        self.upkeep = RemoteUpkeep(self._call)
        self.membership = RemoteMembership(self._calls, clock)
        self.certificates = RemoteCertificates(self._call)

    def close(self) -> None:
        """End the channel."""
        self._calls.close()

    def configure(
        self, release: Release, place: Place | None, deadline: Deadline, key: str = "", chain_key: str = ""
    ) -> None:
        """Make the proxy treat the service as the release's manifest says."""
        told = protocol.ReleaseMessage.of(release)
        self._call("configure", deadline, release=told, place=place, key=key, chain_key=chain_key)

    def read(self, service: str, patience: float | None = None) -> Live | None:
        """Read what the proxy does now; a lock there is waited for no longer than these seconds."""
        found: Live | None = self._call("read", service=service, patience=patience)
        return found

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value and read it back."""
        self._call("set_traffic", deadline, service=service, live=live, given=given)

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the checks of new servers."""
        self._call("introduce", deadline, service=service, place=place, servers=tuple(servers))

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers."""
        self._call("attach", deadline, service=service, place=place, servers=tuple(servers))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Send the servers no new requests; return the number open at the deadline."""
        return int(self._call("drain", deadline, service=service, place=place, names=tuple(names)))

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place; return how many."""
        return int(self._call("hand_over", deadline, service=service, place=place, part=part))

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers."""
        self._call("detach", deadline, service=service, place=place, names=tuple(names))

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        found: tuple[tuple[Server, bool], ...] = self._call("servers", service=service, place=place)
        return found

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers of the preview route, at the address of that host."""
        base, headers = self._call("preview", service=service)
        parts = urlsplit(base)
        address = ip_address(parts.hostname or "")
        if address.is_loopback:  # that of the host itself
            base = f"{parts.scheme}://{join(self._host.address, parts.port or 80)}"
        return base, headers

    def spent(self, service: str) -> int:
        """Read how much of the budget is spent."""
        return int(self._call("spent", service=service))

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy."""
        self._call("forget", deadline, service=service)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        tally = RequestCounter(service)
        return counted(tally, (self.membership.stream(service, tally),))

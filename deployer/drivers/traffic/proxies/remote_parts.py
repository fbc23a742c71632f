"""What the driver of a proxy on another host has beside the port Traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Unreachable
from deployer.drivers.ports import NOTHING, READ_SECONDS, Drift, TrafficLayer
from deployer.drivers.traffic.alone import AloneUpkeep
from deployer.drivers.traffic.haproxy.request_stream import Feed
from deployer.drivers.traffic.proxies import protocol
from deployer.drivers.traffic.proxies.remote_calls import RemoteCalls
from deployer.drivers.traffic.proxies.remote_stream import FarStream
from deployer.manifest.models import Manifest
from deployer.model import Live, Load, MeasuredTraffic, Place
from deployer.planning.certificates import ServedCertificate


class RemoteInspection:
    """What is asked of the proxy of a host beside a rollout."""

    def __init__(self, traffic: TrafficLayer, call: Callable[..., Any]) -> None:
        self._traffic, self._call = traffic, call

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do what the manifest says."""
        self._call("check", deadline, manifest=manifest.record())

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, and what of it waits for an instance."""
        found: Mapping[Place, Load] = self._call("load", service=service)
        return found

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come."""
        found: MeasuredTraffic | None = self._call("measured", service=service)
        return found

    def reachable(self) -> tuple[TrafficLayer, Mapping[str, str]]:
        """Return itself: it is the only one."""
        return self._traffic, {}

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know."""
        found: tuple[str, ...] = self._call("services")
        return found

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare files and workers."""
        found: tuple[Drift, ...] = self._call("drift", service=service)
        return found


class RemoteUpkeep(AloneUpkeep):
    """What keeps the proxy of a host right."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree; a value that both have lost is that of `lost`."""
        self._call("repair", deadline, service=service, lost=dict(lost))


class RemoteMembership:
    """What the proxy of a host does as one of several."""

    def __init__(self, calls: RemoteCalls, clock: Clock) -> None:
        self._calls, self._clock = calls, clock

    def spec(self, service: str) -> str | None:
        """Return what the proxy knows about a service, as text that `join` reads."""
        found: str | None = self._calls.call("spec", service=service)
        return found

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does."""
        self._calls.call("join", deadline, service=service, text=text, live=live)

    def close_entries(self, deadline: Deadline) -> int:
        """Take no new connections; return how many requests are open at the deadline."""
        return int(self._calls.call("close_entries", deadline))

    def open_entries(self, deadline: Deadline) -> None:
        """Take new connections again."""
        self._calls.call("open_entries", deadline)

    @contextmanager
    def stream(self, service: str, feed: Feed) -> Iterator[FarStream]:
        """Have the requests of the service told to `feed`."""
        stream = FarStream(self._calls.host.name, feed, self._clock)
        with self._calls.named():
            channel = self._calls.open(Deadline.after(self._clock, READ_SECONDS))
            number = channel.ask(protocol.SAMPLES, stream.told, service=service)
        try:
            stream.wait(READ_SECONDS)
            yield stream
        finally:
            channel.forget(number)
            with suppress(Unreachable):  # it has ended by itself then
                channel.ask(protocol.END, lambda _answer: None, of=number)


class RemoteCertificates:
    """What the proxy of a host shows for each domain."""

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates."""
        self._call("install", deadline, given=tuple(given))

    def shown(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate that the proxy shows for each domain of a service."""
        found: Mapping[str, Mapping[str, str]] = self._call("shown", service=service)
        return found

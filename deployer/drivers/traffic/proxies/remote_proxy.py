"""One proxy on another machine: its driver, through a channel."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused, Unreachable
from deployer.core.host import Host
from deployer.drivers.ports import NOTHING, READ_SECONDS, Drift, Samples, TrafficCare
from deployer.drivers.traffic.alone import Alone
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.request_stream import Feed, counted
from deployer.drivers.traffic.proxies import protocol
from deployer.drivers.traffic.proxies.channel import ProxyChannel
from deployer.manifest.models import HAProxy, Manifest
from deployer.model import Live, Load, MeasuredTraffic, Place, Release, Server, Waiting, join
from deployer.planning.certificates import ServedCertificate

MORE = 5.0  # seconds that an answer may take beyond the deadline of what is done there
STILL = 10.0  # seconds without a word of a stream, after which nobody is there


class RemoteProxy(Alone):
    """The driver of the proxy of a machine. It opens its channel with the first call, and again when it was lost."""

    def __init__(self, host: Host, proxy: HAProxy, clock: Clock, control: str = "") -> None:
        self._host, self._proxy, self._clock, self._control = host, proxy, clock, control
        self._opening = threading.Lock()
        self._channel: ProxyChannel | None = None
        self._closed = False
        self.certificates = RemoteCertificates(self._call)

    def close(self) -> None:
        """End the channel."""
        with self._opening:
            self._closed = True
            if self._channel is not None:
                self._channel.close()

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do what the manifest says."""
        self._call("check", deadline, manifest=manifest.record())

    def configure(self, release: Release, place: Place | None, deadline: Deadline, key: str = "") -> None:
        """Make the proxy treat the service as the release's manifest says."""
        self._call("configure", deadline, release=protocol.ReleaseMessage.of(release), place=place, key=key)

    def read(self, service: str) -> Live | None:
        """Read what the proxy does now."""
        found: Live | None = self._call("read", service=service)
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
        """Give the servers no new requests; give the number open at the deadline."""
        return int(self._call("drain", deadline, service=service, place=place, names=tuple(names)))

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place; return how many."""
        return int(self._call("hand_over", deadline, service=service, place=place, part=part))

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, and what of it waits for an instance."""
        found: Mapping[Place, Load] = self._call("load", service=service)
        return found

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come."""
        found: MeasuredTraffic | None = self._call("measured", service=service)
        return found

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers."""
        self._call("detach", deadline, service=service, place=place, names=tuple(names))

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        found: tuple[tuple[Server, bool], ...] = self._call("servers", service=service, place=place)
        return found

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Give base URL and headers of the preview route, at the address of that machine."""
        base, headers = self._call("preview", service=service)
        parts = urlsplit(base)
        address = ip_address(parts.hostname or "")
        if address.is_loopback:  # that of the machine itself
            base = f"{parts.scheme}://{join(self._host.address, parts.port or 80)}"
        return base, headers

    def spent(self, service: str) -> int:
        """Read how much of the budget is spent."""
        return int(self._call("spent", service=service))

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy."""
        self._call("forget", deadline, service=service)

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Give itself: it is the only one."""
        return self, {}

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know."""
        found: tuple[str, ...] = self._call("services")
        return found

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare files and workers."""
        found: tuple[Drift, ...] = self._call("drift", service=service)
        return found

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree; a value that both have lost is that of `lost`."""
        self._call("repair", deadline, service=service, lost=dict(lost))

    def spec(self, service: str) -> str | None:
        """Give what the proxy knows about a service, as text that `join` reads."""
        found: str | None = self._call("spec", service=service)
        return found

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does."""
        self._call("join", deadline, service=service, text=text, live=live)

    def close_entries(self, deadline: Deadline) -> int:
        """Take no new connections; return how many requests are open at the deadline."""
        return int(self._call("close_entries", deadline))

    def open_entries(self, deadline: Deadline) -> None:
        """Take new connections again."""
        self._call("open_entries", deadline)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        tally = RequestCounter(service)
        return counted(tally, (self.stream(service, tally),))

    @contextmanager
    def stream(self, service: str, feed: Feed) -> Iterator[FarStream]:
        """Have the requests of the service told to `feed`."""
        stream = FarStream(self._host.name, feed, self._clock)
        with self._named():
            channel = self._open()
            number = channel.ask(protocol.SAMPLES, stream.told, service=service)
        try:
            stream.wait(READ_SECONDS)
            yield stream
        finally:
            channel.forget(number)
            with suppress(Unreachable):  # it has ended by itself then
                channel.ask(protocol.END, lambda _answer: None, of=number)

    def _call(self, name: str, deadline: Deadline | None = None, **arguments: Any) -> Any:
        seconds = deadline.left() if deadline else READ_SECONDS
        told = {"arguments": protocol.encoded(name, arguments), "seconds": seconds}
        with self._named():
            answer = self._open().call(name, seconds + MORE, **told)
        if "error" in answer:
            raise protocol.raised(answer["error"], self._host.name)
        return protocol.result(name, answer.get("ok"))

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Say of what the channel raises on which machine it was."""
        try:
            yield
        except (Unreachable, Refused) as error:
            hint = error.hint or f"`deploy hosts check --limit {self._host.name}` says why"
            raise type(error)(f"{self._host.name}: {error.message}", hint) from None

    def _open(self) -> ProxyChannel:
        """Give the channel, after opening it where it is not open."""
        with self._opening:
            if self._closed:
                raise Unreachable("the channel is closed")
            if self._channel is None or self._channel.lost:
                if self._channel is not None:
                    self._channel.close()
                self._channel = None
                self._channel = ProxyChannel(self._host, self._proxy, self._clock, self._control)
            return self._channel


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


class FarStream:
    """The requests that a proxy on another machine answers, as it tells of them."""

    def __init__(self, machine: str, feed: Feed, clock: Clock) -> None:
        self._machine, self._feed, self._clock = machine, feed, clock
        self._hint = f"`deploy hosts check --limit {machine}` says why"
        self._begun = threading.Event()
        self._broken = ""
        self._share = 0
        self._waiting: Waiting | None = None
        self._heard = clock.monotonic()

    def wait(self, seconds: float) -> None:
        """Wait until it has begun. Raises Unreachable."""
        if not self._begun.wait(seconds):
            raise Unreachable(f"{self._machine}: no request stream within {seconds:g} s", self._hint)
        self.check()

    def check(self) -> None:
        """Raise Unreachable when nothing is told any more."""
        if self._broken:
            raise Unreachable(f"{self._machine}: {self._broken}", self._hint)
        if self._clock.monotonic() - self._heard > STILL:
            raise Unreachable(f"{self._machine}: the request stream has said nothing for {STILL:g} s", self._hint)

    def share(self) -> int:
        """Give the share in force there."""
        return self._share

    def waiting(self) -> Waiting | None:
        """Return what was in flight when the proxy there was asked since the last call, if it was."""
        last, self._waiting = self._waiting, None
        return last

    def told(self, answer: Mapping[str, Any]) -> None:
        """Take what is told."""
        self._heard = self._clock.monotonic()
        if "lines" in answer:
            self._feed.feed([str(line).encode("latin-1") for line in answer["lines"]])
            if missed := int(answer.get("missed", 0)):
                self._feed.miss(missed)
            self._share = int(answer["share"])
            if "waiting" in answer:
                p, stable, candidate = answer["waiting"]
                self._waiting = Waiting(float(p), int(stable), int(candidate))
        elif "ok" not in answer:
            failed = answer.get("error", {})
            self._broken = str(answer.get("lost") or failed.get("message") or "the request stream ended")
            self._begun.set()
        else:
            self._begun.set()

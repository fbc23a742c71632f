"""The driver: moves users between the colours of a service with HAProxy.

Every change goes to the files first, then to every worker, and is read back; all under the lock of the folder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.ports import NOTHING, Drift
from deployer.drivers.traffic.alone import Alone
from deployer.drivers.traffic.haproxy import backend, layout, live_value
from deployer.drivers.traffic.haproxy.division import Division
from deployer.drivers.traffic.haproxy.endpoint_files import Cards, card_of
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.places import Places
from deployer.drivers.traffic.haproxy.proxy import OwnProxy, Proxy, TeamProxy
from deployer.drivers.traffic.haproxy.servers import Servers
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts
from deployer.model import Live, Load, MeasuredTraffic, Place, Release, Server

if TYPE_CHECKING:
    from deployer.drivers.ports import Samples, TrafficCare
    from deployer.drivers.traffic.haproxy import (
        admission,
        certificates,
        draining,
        entries,
        examination,
        frontend,
        listeners,
        reload,
        request_counter,
        request_stream,
        shown_certificates,
        spec,
        tunnels,
    )
    from deployer.manifest.models import HAProxy, Manifest
    from deployer.model import Waiting
else:  # what only changes the proxy, which most questions do not
    _FIRST = ("admission", "certificates", "draining", "entries", "examination", "frontend")
    _CHANGES = (*_FIRST, "listeners", "reload", "spec")
    admission, certificates, draining, entries, examination, frontend, listeners, reload, spec = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}") for name in _CHANGES
    )
    request_counter, request_stream, shown_certificates, tunnels = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}")
        for name in ("request_counter", "request_stream", "shown_certificates", "tunnels")
    )

READ_WITHIN = 10.0  # seconds for calls that have no deadline of their own


class HAProxyTraffic(Alone):
    """A HAProxy of our own in `folder`, or with `existing` the one that a team already runs.

    `program` is the haproxy to use for our own; the system's, else that of the wheel, unless given. In `state` each
    service has a card by which an emergency finds the proxy, unless it is None.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        existing: HAProxy | None = None,
        program: Path | None = None,
        state: Path | None = None,
    ) -> None:
        self._clock = clock
        self._proxy: Proxy = TeamProxy(existing, clock) if existing else OwnProxy(folder.absolute(), clock, program)
        self._home = self._proxy.home
        self._cards = Cards(state, card_of(self._proxy.master.path, self._home).text())
        self._live = LiveMap(self._proxy.master, self._home.state)
        self._servers = Servers(self._proxy.master)
        self._places = Places(self._home, self._proxy.master, self._servers, clock)
        self._division = Division(self._home, self._live, self._places, clock)
        self.certificates = later.made(lambda: shown_certificates.HAProxyCertificates(self._proxy, clock))

    # -- what the proxy knows about a service

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do what the manifest says; proxy and files stay as they are."""
        try:
            with self._home.locked(deadline):
                reload.try_out(self._proxy, self._live, manifest, deadline)
        except OSError as error:
            raise Refused(f"{error.filename or self._home.root}: {error.strerror}", "see `deploy doctor`") from None

    def configure(self, release: Release, place: Place | None, deadline: Deadline, key: str = "") -> None:
        """Make the proxy treat the service as the release's manifest says; it signs with `key`, or else with its own.

        Reloads only what a reload alone can change. Raises Refused, with HAProxy's own words or naming the service that
        is in the way; nothing was changed then.
        """
        with self._home.locked(deadline):
            if self._follows(release, place, deadline, key):
                return
            known = spec.load(self._home.services, release.service)
            wanted = spec.configured(known, release.service, release.manifest, place)
            if key:
                wanted = wanted.model_copy(update={"key": key})
            reload.change(self._proxy, self._live, wanted, deadline)
        self._cards.write(release.service)

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does, of which this is the `spec` and the live value."""
        wanted, known = spec.Spec.model_validate_json(text), spec.load(self._home.services, service)
        with self._home.locked(deadline):
            reload.change(self._proxy, self._live, wanted.bare().keeping(known), deadline)
        later.module("deployer.drivers.traffic.haproxy.joining").move(self, wanted, known, live, deadline)
        self._cards.write(service)

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy; our own proxy ends with its last service and leaves nothing behind."""
        if not self._facts(service).there:
            return
        with self._home.locked(deadline):
            specs = spec.load_all(self._home.services)
            gone = specs.pop(service)
            if specs:
                reload.load(self._proxy, self._live, specs, deadline)
                certificates.ProxyCertificates(self._home, self._proxy.master).forget(gone, specs.values())
            else:
                self._proxy.leave(deadline)
                self._home.remove()
        self._cards.remove(service)

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know, sorted; nothing is asked or started."""
        return tuple(sorted(spec.load_all(self._home.services)))

    def spec(self, service: str) -> str | None:
        """Return what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        known = spec.load(self._home.services, service)
        return known.model_dump_json() if known else None

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers with which a request reaches the candidate before any user."""
        entry = spec.require(self._home.services, service).entry
        if entry.mode == "tcp":
            raise Refused(f"{service} is a tcp service: it has no preview route", "its health check decides")
        token = (layout.read(self._home.token) or "").strip()
        headers = {frontend.PREVIEW_HEADER: f"{token}.{service}"}
        if entry.domains:
            headers["Host"] = entry.domains[0].replace("*", "preview")
        return f"http://{listeners.Listen.parse(entry.listen).loopback}", headers

    # -- the live value

    def read(self, service: str) -> Live | None:
        """Read what the proxy does now, from every worker; None when it does not know the service."""
        if not self._facts(service).there:
            return None
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            return self._live.read(service, deadline)

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to file and to every worker, and read it back, unless the share that was `given` is ended."""
        live_value.encode(live)
        self._facts(service).require()
        with self._answering(deadline):
            self._division.write(service, live, given, deadline)

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen in this rollout; 0 where there is no budget.

        What was read is written to the file: a proxy that is killed begins again with that count, not with none. Where
        nothing can be written, what was read is right all the same.
        """
        if not self._facts(service).there:
            return 0
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            value, spent = self._division.spent(service, deadline)
        if spent > live_value.spent(value):
            with suppress(DriverFailed, Refused), self._home.locked(deadline):
                self._division.keep_spent(service, value, spent)
        return spent if live_value.decode(service, value).budget else 0

    # -- the servers of a place

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the proxy's own checks of servers that are new to it; they get no request before they are attached.

        The files do not name them yet: a proxy that is restarted or reloaded meanwhile forgets them.
        """
        self._facts(service).require()
        self._proxy.ready(deadline)
        self._attaching(service, place, servers).introduce(deadline)

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until the proxy's own checks passed.

        Raises DeadlinePassed naming the server and what its last check saw; the servers are forgotten then.
        """
        self._facts(service).require()
        with self._answering(deadline):
            pass  # a proxy that is gone is started again, once for all that follows
        if self._facts(service).has(place, servers) and self._places.serve(service, place, servers, deadline):
            return
        self._attaching(service, place, servers).run(deadline)

    def _attaching(self, service: str, place: Place, servers: Sequence[Server]) -> admission.Attaching:
        spec.refuse_odd(servers)
        return admission.Attaching(self._proxy, self._servers, service, place, tuple(servers))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Give the servers no new requests, wait until none is running; return the number open at the deadline."""
        self._facts(service).require()
        # A drain without patience still takes the servers out.
        began = Deadline.after(self._clock, max(deadline.left(), READ_WITHIN))
        with self._answering(began):
            leaving = draining.Leaving(self._proxy, self._servers, service, place, tuple(names))
        return leaving.drain(began, deadline)

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place; return how many."""
        if not self._facts(service).there:
            return 0
        self._proxy.ready(deadline)
        return tunnels.Tunnels(self._proxy.master, backend.name(service, place)).close(part, deadline)

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers, cutting what is still open on them. Unknown names are no error.

        A baseline ends with its last server.
        """
        if not self._facts(service).there:
            return
        with self._answering(deadline):
            there = place in self._facts(service).places
        if not there:
            return
        draining.Leaving(self._proxy, self._servers, service, place, tuple(names)).forget(deadline)
        if place == "baseline":
            with self._home.locked(deadline):
                reload.end_baseline(self._proxy, self._live, service, deadline)

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        if not self._facts(service).there:
            return ()
        deadline = self._soon()
        self._proxy.ready(deadline)
        return tuple((Server(s.name, s.address), s.up) for s in self._places.seen(service, place, deadline))

    # -- maintenance

    def close_entries(self, deadline: Deadline) -> int:
        """Take no new connections; return how many requests are open at the deadline."""
        return entries.Entries(self._proxy.master).close(deadline)

    def open_entries(self, deadline: Deadline) -> None:
        """Take new connections again."""
        entries.Entries(self._proxy.master).open(deadline)

    # -- what passes through it

    def load(self, service: str) -> Mapping[Place, Load]:
        """Return what is open at each place, at every worker, and what of it waits for an instance."""
        if not self._facts(service).there:
            return {}
        deadline = self._soon()
        self._proxy.ready(deadline)
        return self._places.load(service, self._facts(service).places, deadline)

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy does not know the service, or counts since just now."""
        if not self._facts(service).there:
            return None
        deadline = self._soon()
        self._proxy.ready(deadline)
        return self._places.measured(service, self._facts(service).places, deadline)

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        counts = request_counter.RequestCounter(service)
        return request_stream.counted(counts, (self.stream(service, counts),))

    def stream(self, service: str, feed: request_stream.Feed) -> AbstractContextManager[request_stream.Requests]:
        """Have `feed` get the requests of the service."""
        spec.require(self._home.services, service)
        self._proxy.ready(self._soon())
        return request_stream.RequestStream(
            service,
            self._proxy,
            self._clock,
            lambda: self._division.share(service),
            feed,
            lambda: self._waiting(service),
        )

    def _waiting(self, service: str) -> Waiting | None:
        entry = spec.require(self._home.services, service).entry
        return self._division.waiting(service, entry, self._soon())

    # -- whether it agrees with its files

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Return itself: it is the only one."""
        return self, {}

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare the files with what they should be, and every worker with the files; nothing is changed."""
        if not self._home.services.is_dir():
            return ()
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            found = tuple(self._examination(deadline).drift(service))
        readable = all(fault.repairable for fault in found)
        if readable and self._facts(service).there and not self._cards.right(service):
            return (*found, Drift(f"the emergency card of {service} is missing or wrong: going back takes longer"))
        return found

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree: the files are what holds, or what the proxy does where they are lost.

        What an emergency did at the proxy holds too. Of a service whose value both have lost, it is that of `lost`. A
        proxy of ours that does not respond is started again. Raises DriverFailed, moving nobody, when users would be
        sent where no server is up.
        """
        with self._home.locked(deadline):
            reload.revive(self._proxy, self._live, lost, deadline)
            reload.fill(self._proxy, self._live, lost, deadline)
            wanted, moves = self._examination(deadline).wanted(service)
            if moves:
                self._places.refuse_nowhere(service, wanted, deadline)
            reload.repair(self._proxy, self._live, deadline)
            missing = self._examination(deadline).missing(spec.require(self._home.services, service))
        for place, servers in missing.items():
            self.attach(service, place, servers, deadline)
        self.set_traffic(service, wanted, deadline)
        self._cards.write(service)

    def _examination(self, deadline: Deadline) -> examination.Examination:
        return examination.Examination(self._proxy, self._live, self._servers, deadline)

    def _follows(self, release: Release, place: Place | None, deadline: Deadline, key: str) -> bool:
        """Tell whether the running proxy treats a place, or the entry, as the release says already."""
        if not self._facts(release.service).follows(release.manifest, place, key):
            return False
        if not self._cards.right(release.service):
            return False
        structure = live_value.load(self._home.state).get(live_value.STRUCTURE)
        return structure is not None and self._proxy.master.answers() and self._live.structure(deadline) == structure

    @contextmanager
    def _answering(self, deadline: Deadline) -> Iterator[None]:
        """Hold the lock of the folder, of a proxy that answers."""
        with self._home.locked(deadline):
            self._proxy.ready(deadline)
            yield

    def _facts(self, service: str) -> SpecFacts:
        return SpecFacts(self._home.services, service)

    def _soon(self) -> Deadline:
        return Deadline.after(self._clock, READ_WITHIN)

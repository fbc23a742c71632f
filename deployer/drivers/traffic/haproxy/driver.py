"""The driver: moves users between the colours of a service with HAProxy.

Every change goes to the files first, then to every worker, and is read back; all under the lock of the folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.alone import Alone
from deployer.drivers.traffic.haproxy import layout, live_value, naming
from deployer.drivers.traffic.haproxy.parts import READ_WITHIN, Parts
from deployer.model import Live, Place, Release, Server

if TYPE_CHECKING:
    from deployer.drivers.ports import Samples
    from deployer.drivers.traffic.haproxy import (
        admission,
        certificates,
        draining,
        frontend,
        inspection,
        listeners,
        membership,
        reload,
        request_counter,
        request_stream,
        shown_certificates,
        spec,
        tunnels,
        upkeep,
        waker_process,
    )
    from deployer.manifest.models import HAProxy
else:  # what only changes the proxy, which most questions do not
    _CHANGES = ("admission", "certificates", "draining", "frontend", "listeners", "reload", "spec")
    admission, certificates, draining, frontend, listeners, reload, spec = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}") for name in _CHANGES
    )
    _BESIDE = ("inspection", "membership", "shown_certificates", "upkeep", "waker_process")
    inspection, membership, shown_certificates, upkeep, waker_process = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}") for name in _BESIDE
    )
    request_counter, request_stream, tunnels = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}")
        for name in ("request_counter", "request_stream", "tunnels")
    )


class HAProxyTraffic(Alone):
    """A HAProxy of our own in `folder`, or with `existing` the one that a team already runs.

    `program` is the haproxy to use for our own; the system's, else that of the wheel, unless given. In `state` each
    service has a card by which an emergency finds the proxy, unless it is None. `chain_key` signs the sides that a
    service passes on, where a call does not bring another one.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        existing: HAProxy | None = None,
        program: Path | None = None,
        state: Path | None = None,
        chain_key: str = "",
    ) -> None:
        self.parts = Parts(folder, clock, existing, program, state)
        self._chain_key = chain_key
        self.inspection = later.made(lambda: inspection.HAProxyInspection(self, self.parts))
        self.upkeep = later.made(lambda: upkeep.HAProxyUpkeep(self, self.parts))
        self.membership = later.made(lambda: membership.HAProxyMembership(self, self.parts))
        self.certificates = later.made(lambda: shown_certificates.HAProxyCertificates(self.parts.proxy, clock))

    # -- what the proxy knows about a service

    def configure(
        self, release: Release, place: Place | None, deadline: Deadline, key: str = "", chain_key: str = ""
    ) -> None:
        """Make the proxy treat the service as the release's manifest says; it signs with `key`, or else with its own.

        Reloads only what a reload alone can change. Raises Refused, with HAProxy's own words or naming the service that
        is in the way; nothing was changed then.
        """
        chain_key = chain_key or self._chain_key
        with self.parts.home.locked(deadline):
            if self._follows(release, place, deadline, key, chain_key):
                return
            known = spec.load(self.parts.home.services, release.service)
            wanted = spec.configured(known, release.service, release.manifest, place, release.learned)
            if key:
                wanted = wanted.model_copy(update={"key": key})
            if chain_key:
                wanted = wanted.model_copy(update={"chain_key": chain_key})
            reload.change(self.parts.proxy, self.parts.live, wanted, deadline)
        self.parts.cards.write(release.service)

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy; our own proxy ends with its last service and leaves nothing behind."""
        if not self.parts.facts(service).there:
            return
        with self.parts.home.locked(deadline):
            specs = spec.load_all(self.parts.home.services)
            gone = specs.pop(service)
            if specs:
                reload.load(self.parts.proxy, self.parts.live, specs, deadline)
                certificates.ProxyCertificates(self.parts.home, self.parts.proxy.master).forget(gone, specs.values())
            else:
                waker_process.WakerProcess(self.parts.home).stop(deadline)
                self.parts.proxy.leave(deadline)
                self.parts.home.remove()
        self.parts.cards.remove(service)

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Return base URL and headers with which a request reaches the candidate before any user."""
        entry = spec.require(self.parts.home.services, service).entry
        if entry.mode == "tcp":
            raise Refused(f"{service} is a tcp service: it has no preview route", "its health check decides")
        token = (layout.read(self.parts.home.token) or "").strip()
        headers = {frontend.PREVIEW_HEADER: f"{token}.{service}"}
        if entry.domains:
            headers["Host"] = entry.domains[0].replace("*", "preview")
        return f"http://{listeners.Listen.parse(entry.listen).loopback}", headers

    # -- the live value

    def read(self, service: str, patience: float | None = None) -> Live | None:
        """Read what the proxy does now, from every worker; None when it does not know the service.

        The lock of its folder is waited for no longer than `patience` seconds, if that is given.
        """
        if not self.parts.facts(service).there:
            return None
        with self.parts.home.reading(self.parts.soon(patience)):
            deadline = self.parts.soon()
            self.parts.proxy.ready(deadline)
            return self.parts.live.read(service, deadline)

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to file and to every worker, and read it back, unless the share that was `given` is ended."""
        live_value.encode(live)
        self.parts.facts(service).require()
        with self.parts.answering(deadline):
            self.parts.division.write(service, live, given, deadline)

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen in this rollout; 0 where there is no budget.

        What was read is written to the file: a proxy that is killed begins again with that count, not with none. Where
        nothing can be written, what was read is right all the same.
        """
        if not self.parts.facts(service).there:
            return 0
        deadline = self.parts.soon()
        with self.parts.home.reading(deadline):
            self.parts.proxy.ready(deadline)
            value, spent = self.parts.division.spent(service, deadline)
        if spent > live_value.spent(value):
            with suppress(DriverFailed, Refused), self.parts.home.locked(deadline):
                self.parts.division.keep_spent(service, value, spent)
        return spent if live_value.decode(service, value).budget else 0

    # -- the servers of a place

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the proxy's own checks of servers that are new to it; they get no request before they are attached.

        The files do not name them yet: a proxy that is restarted or reloaded meanwhile forgets them.
        """
        self.parts.facts(service).require()
        self.parts.proxy.ready(deadline)
        self._attaching(service, place, servers).introduce(deadline)

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until the proxy's own checks passed.

        Raises DeadlinePassed naming the server and what its last check saw; the servers are forgotten then.
        """
        self.parts.facts(service).require()
        with self.parts.answering(deadline):
            pass  # a proxy that is gone is started again, once for all that follows
        if self.parts.facts(service).has(place, servers) and self.parts.places.serve(service, place, servers, deadline):
            return
        self._attaching(service, place, servers).run(deadline)

    def _attaching(self, service: str, place: Place, servers: Sequence[Server]) -> admission.Attaching:
        spec.refuse_odd(servers)
        return admission.Attaching(self.parts.proxy, self.parts.servers, service, place, tuple(servers))

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Send the servers no new requests, wait until none is running; return the number open at the deadline."""
        self.parts.facts(service).require()
        # A drain without patience still takes the servers out.
        began = Deadline.after(self.parts.clock, max(deadline.left(), READ_WITHIN))
        with self.parts.answering(began):
            leaving = draining.Leaving(self.parts.proxy, self.parts.servers, service, place, tuple(names))
        return leaving.drain(began, deadline)

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place; return how many."""
        if not self.parts.facts(service).there:
            return 0
        self.parts.proxy.ready(deadline)
        return tunnels.Tunnels(self.parts.proxy.master, naming.backend(service, place)).close(part, deadline)

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers, cutting what is still open on them. Unknown names are no error.

        A baseline ends with its last server.
        """
        if not self.parts.facts(service).there:
            return
        with self.parts.answering(deadline):
            there = place in self.parts.facts(service).places
        if not there:
            return
        draining.Leaving(self.parts.proxy, self.parts.servers, service, place, tuple(names)).forget(deadline)
        if place == "baseline":
            with self.parts.home.locked(deadline):
                reload.end_baseline(self.parts.proxy, self.parts.live, service, deadline)

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        if not self.parts.facts(service).there:
            return ()
        deadline = self.parts.soon()
        self.parts.proxy.ready(deadline)
        seen = self.parts.places.seen(service, place, deadline)
        return tuple((Server(s.name, s.address, s.limit), s.up) for s in seen)

    # -- what passes through it

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        counts = request_counter.RequestCounter(service)
        return request_stream.counted(counts, (self.membership.stream(service, counts),))

    def _follows(self, release: Release, place: Place | None, deadline: Deadline, key: str, chain_key: str) -> bool:
        """Return whether the running proxy treats a place, or the entry, as the release says already."""
        facts = self.parts.facts(release.service)
        if not facts.follows(release.manifest, place, key, chain_key, release.learned):
            return False
        if not self.parts.cards.right(release.service):
            return False
        structure = live_value.load(self.parts.home.state).get(live_value.STRUCTURE)
        return (
            structure is not None
            and self.parts.proxy.master.answers()
            and self.parts.live.structure(deadline) == structure
        )

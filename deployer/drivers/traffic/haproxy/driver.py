"""The driver: moves users between the colours of a service with HAProxy.

Every change goes to the files first, then to every worker, and is read back; all under the lock of the folder.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, NoServerUp, Refused, TakenBack
from deployer.drivers.ports import NOTHING, Drift
from deployer.drivers.traffic.haproxy import backend, layout, live_value
from deployer.drivers.traffic.haproxy.endpoint_files import Cards, card_of
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.drivers.traffic.haproxy.master import Worker
from deployer.drivers.traffic.haproxy.proxy import OwnProxy, Proxy, TeamProxy
from deployer.drivers.traffic.haproxy.servers import Servers, ServerView
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts
from deployer.model import COLOURS, FULL, Live, MeasuredTraffic, Place, Release, Server, Waiting, taken_back

if TYPE_CHECKING:
    from deployer.drivers.ports import Samples, TrafficCare
    from deployer.drivers.traffic.haproxy import (
        admission,
        certificates,
        draining,
        examination,
        frontend,
        listeners,
        reload,
        request_counter,
        request_history,
        request_stream,
        spec,
        tunnels,
    )
    from deployer.drivers.traffic.haproxy.spec import Spec
    from deployer.manifest.models import HAProxy, Manifest
    from deployer.planning.certificates import ServedCertificate
else:  # what only changes the proxy, which most questions do not
    _LATER = ("admission", "certificates", "listeners", "examination", "frontend", "draining", "reload", "spec")
    admission, certificates, listeners, examination, frontend, draining, reload, spec = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}") for name in _LATER
    )
    request_stream, request_counter, request_history, tunnels = (
        later.module(f"deployer.drivers.traffic.haproxy.{name}")
        for name in ("request_stream", "request_counter", "request_history", "tunnels")
    )

READ_WITHIN = 10.0  # seconds for calls that have no deadline of their own
ANSWERS_WITHIN = 5.0  # seconds in which a proxy answers that needs no help
FIRST_CHECKS = 3.0  # seconds within which a proxy that was just started has checked each server


class HAProxyTraffic:
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
        self._cards = Cards(state, card_of(self._proxy.master.path, self._home).text()) if state else None
        self._live = LiveMap(self._proxy.master, self._home.state)
        self._servers = Servers(self._proxy.master)

    @property
    def _certificates(self) -> certificates.Certificates:
        return certificates.Certificates(self._home, self._proxy.master)

    def check(self, manifest: Manifest, deadline: Deadline) -> None:
        """Raise Refused when `configure` could not do what the manifest says; proxy and files stay as they are."""
        try:
            with self._home.locked(deadline):
                self._check(manifest, deadline)
        except OSError as error:
            raise Refused(f"{error.filename or self._home.root}: {error.strerror}", "see `deploy doctor`") from None

    def _check(self, manifest: Manifest, deadline: Deadline) -> None:
        known = spec.load_all(self._home.services)
        wanted = spec.configured(known.get(manifest.service), manifest.service, manifest, None)
        for colour in COLOURS:
            wanted = spec.configured(wanted, manifest.service, manifest, colour)
        try:
            self._proxy.require(deadline)
            reload.check(self._proxy, self._live, {**known, manifest.service: wanted}, deadline)
        except DriverFailed as error:
            raise Refused(error.message, error.hint) from error
        finally:
            if not known:
                self._home.remove()

    def configure(self, release: Release, place: Place | None, deadline: Deadline, key: str = "") -> None:
        """Make the proxy treat the service as the release's manifest says; it signs with `key`, or else with its own.

        Reloads only what a reload alone can change. Raises Refused, with HAProxy's own words or naming the service that
        is in the way; nothing was changed then.
        """
        with self._home.locked(deadline):
            if self._follows(release, place, deadline, key):
                return
            specs = spec.load_all(self._home.services)
            wanted = spec.configured(specs.get(release.service), release.service, release.manifest, place)
            if key:
                wanted = wanted.model_copy(update={"key": key})
            reload.load(self._proxy, self._live, {**specs, release.service: wanted}, deadline)
        if self._cards:
            self._cards.write(release.service)

    def install(self, given: Sequence[ServedCertificate], deadline: Deadline) -> None:
        """Serve these certificates: to the files first, then to every worker that has the domain; read back.

        A placeholder goes to the files only, where they have nothing: it is shown from the next configuration on.
        """
        with self._home.locked(deadline):
            kept = self._certificates.keep(given)
            if not self._proxy.master.answers():
                return
            specs = spec.load_all(self._home.services)
            for one in (each for each in kept if not each.placeholder):
                self._certificates.show(one, specs.values(), deadline)

    def certificates(self, service: str) -> Mapping[str, Mapping[str, str]]:
        """Return the certificate, PEM, that the proxy shows for each domain of a service; "" is a service without one.

        By the name of the proxy's host, which is "" for this one.
        """
        if not self._knows(service):
            return {"": {}}
        entry = self._spec(service).entry
        if entry.tls is None:
            return {"": {}}
        deadline = self._soon()
        self._proxy.ready(deadline)
        domains = entry.domains or ("",)
        return {"": {domain: certificates.shown(entry.tls.listen, domain, deadline) for domain in domains}}

    def read(self, service: str) -> Live | None:
        """Read what the proxy does now, from every worker; None when it does not know the service."""
        if not self._knows(service):
            return None
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            return self._live.read(service, deadline)

    def set_traffic(self, service: str, live: Live, deadline: Deadline, given: Live | None = None) -> None:
        """Write the value to file and to every worker, and read it back, unless the share that was `given` is ended."""
        live_value.encode(live)
        self._require(service)
        with self._home.locked(deadline):
            self._proxy.ready(deadline)
            if given and given.share:
                _refuse_taken_back(service, given, self._live.read(service, deadline))
            values = live_value.load(self._home.state)
            now = live_value.decode(service, values[service]) if service in values else None
            if not self._moves_nobody(now, live):
                self._refuse_nowhere(service, live, deadline)
            spent = self._live.spent(service, values[service], deadline) if now and now.rollout == live.rollout else 0
            live_value.save(self._home.state, {**values, service: live_value.encode(live, spent)})
            self._live.write(service, live, spent, deadline, lambda worker: self._able(worker, service, live, deadline))

    def introduce(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Begin the proxy's own checks of servers that are new to it; they get no request before they are attached.

        The files do not name them yet: a proxy that is restarted or reloaded meanwhile forgets them.
        """
        self._require(service)
        _refuse_odd(servers)
        self._proxy.ready(deadline)
        admission.Attaching(self._proxy, self._servers, service, place, tuple(servers)).introduce(deadline)

    def attach(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> None:
        """Make the place have these servers; wait until the proxy's own checks passed.

        Raises DeadlinePassed naming the server and what its last check saw; the servers are forgotten then.
        """
        self._require(service)
        with self._home.locked(deadline):
            self._proxy.ready(deadline)
        if self._serves(service, place, servers, deadline):
            return
        _refuse_odd(servers)
        admission.Attaching(self._proxy, self._servers, service, place, tuple(servers)).run(deadline)

    def drain(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> int:
        """Give the servers no new requests, wait until none is running; give the number open at the deadline."""
        self._spec(service)
        # A drain without patience still takes the servers out.
        began = Deadline.after(self._clock, max(deadline.left(), READ_WITHIN))
        with self._home.locked(began):
            self._proxy.ready(began)
        return draining.Leaving(self._proxy, self._servers, service, place, tuple(names)).drain(began, deadline)

    def hand_over(self, service: str, place: Place, part: float, deadline: Deadline) -> int:
        """Close this part of the WebSockets and tcp sessions that are open at the place; return how many."""
        if not self._knows(service):
            return 0
        self._proxy.ready(deadline)
        return tunnels.Tunnels(self._proxy.master, backend.name(service, place)).close(part, deadline)

    def connections(self, service: str) -> Mapping[Place, int]:
        """Return how many requests and connections are open at each place, at every worker."""
        if not self._knows(service):
            return {}
        deadline = self._soon()
        self._proxy.ready(deadline)
        workers = self._proxy.master.workers(deadline)
        return {
            place: sum(self._servers.open(worker, backend.name(service, place), deadline) for worker in workers)
            for place in self._facts(service).places
        }

    def measured(self, service: str) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy does not know the service, or counts since just now."""
        if not self._knows(service):
            return None
        deadline = self._soon()
        self._proxy.ready(deadline)
        backends = [backend.name(service, place) for place in self._facts(service).places]
        return self._proxy.master.undisturbed(lambda: self._measured(backends, deadline), deadline)

    def _measured(self, backends: Sequence[str], deadline: Deadline) -> MeasuredTraffic | None:
        traffic, before = None, request_history.together(request_history.load(self._home), backends)
        for worker in self._proxy.master.current(deadline):
            seconds = self._servers.uptime(worker, deadline)
            if not seconds + before.seconds:
                return None
            counts = [self._servers.served(worker, name, deadline) for name in backends]
            requests, now = (sum(count) for count in zip(*counts, strict=True))
            all_of_it = before.followed_by(request_history.Counted(requests, seconds))
            before = request_history.Counted()  # it counts once, however many workers there are
            one = MeasuredTraffic(all_of_it.requests / max(all_of_it.seconds, 1.0), all_of_it.seconds, now)
            traffic = traffic + one if traffic else one
        return traffic

    def detach(self, service: str, place: Place, names: Sequence[str], deadline: Deadline) -> None:
        """Make the proxy forget the servers, cutting what is still open on them. Unknown names are no error.

        A baseline ends with its last server.
        """
        if not self._knows(service):
            return
        with self._home.locked(deadline):
            self._proxy.ready(deadline)
        if place not in self._facts(service).places:
            return
        draining.Leaving(self._proxy, self._servers, service, place, tuple(names)).forget(deadline)
        if place == "baseline":
            self._end_baseline(service, deadline)

    def servers(self, service: str, place: Place) -> tuple[tuple[Server, bool], ...]:
        """Read the servers of the place and whether the proxy finds each one up."""
        if not self._knows(service):
            return ()
        deadline = self._soon()
        self._proxy.ready(deadline)
        seen = self._seen(service, place, deadline)
        return tuple((Server(s.name, s.address), s.up) for s in seen)

    def preview(self, service: str) -> tuple[str, dict[str, str]]:
        """Give base URL and headers with which a request reaches the candidate before any user."""
        known = self._spec(service)
        if known.entry.mode == "tcp":
            raise Refused(f"{service} is a tcp service: it has no preview route", "its health check decides")
        token = (layout.read(self._home.token) or "").strip()
        headers = {frontend.PREVIEW_HEADER: f"{token}.{service}"}
        if known.entry.domains:
            headers["Host"] = known.entry.domains[0].replace("*", "preview")
        return f"http://{listeners.Listen.parse(known.entry.listen).loopback}", headers

    def spent(self, service: str) -> int:
        """Read how many failed responses of the candidate users have seen in this rollout; 0 where there is no budget.

        What was read is written to the file: a proxy that is killed begins again with that count, not with none. Where
        nothing can be written, what was read is right all the same.
        """
        if not self._knows(service):
            return 0
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            value = live_value.load(self._home.state)[service]
            spent = self._live.spent(service, value, deadline)
        if spent > live_value.spent(value):
            with suppress(DriverFailed, Refused), self._home.locked(deadline):
                self._keep_spent(service, value, spent)
        return spent if live_value.decode(service, value).budget else 0

    def _keep_spent(self, service: str, value: str, spent: int) -> None:
        values = live_value.load(self._home.state)
        if values.get(service) == value:  # else somebody has changed it, and counted meanwhile
            live = live_value.decode(service, value)
            live_value.save(self._home.state, {**values, service: live_value.encode(live, spent)})

    def samples(self, service: str) -> AbstractContextManager[Samples]:
        """Open the stream of requests of the service."""
        counts = request_counter.RequestCounter(service)
        return request_stream.counted(counts, (self.stream(service, counts),))

    def stream(self, service: str, feed: request_stream.Feed) -> AbstractContextManager[request_stream.Requests]:
        """Have the requests of the service told to `feed`."""
        self._spec(service)
        self._proxy.ready(self._soon())
        return request_stream.RequestStream(
            service, self._proxy, self._clock, lambda: self._share(service), feed, lambda: self._waiting(service)
        )

    def spec(self, service: str) -> str | None:
        """Give what the proxy knows about a service, as text that `join` reads; None when it does not know it."""
        known = spec.load(self._home.services, service)
        return known.model_dump_json() if known else None

    def join(self, service: str, text: str, live: Live, deadline: Deadline) -> None:
        """Make the proxy serve a service as another one does, of which this is the `spec` and the live value."""
        wanted = spec.Spec.model_validate_json(text)
        with self._home.locked(deadline):
            specs = spec.load_all(self._home.services)
            reload.load(self._proxy, self._live, {**specs, service: wanted.bare()}, deadline)
        for place in wanted.places:
            members = [Server(m.name, m.address) for m in wanted.side(place).members if not m.leaving]
            if members:
                self.attach(service, place, members, deadline)
        self.set_traffic(service, live, deadline)
        if self._cards:
            self._cards.write(service)

    def forget(self, service: str, deadline: Deadline) -> None:
        """Remove the service from the proxy; our own proxy ends with its last service and leaves nothing behind."""
        if not self._knows(service):
            return
        with self._home.locked(deadline):
            specs = spec.load_all(self._home.services)
            gone = specs.pop(service)
            if specs:
                reload.load(self._proxy, self._live, specs, deadline)
                self._certificates.forget(gone, specs.values())
            else:
                self._proxy.leave(deadline)
                self._home.remove()
        if self._cards:
            self._cards.remove(service)

    def reachable(self) -> tuple[TrafficCare, Mapping[str, str]]:
        """Give itself: it is the only one."""
        return self, {}

    def services(self) -> tuple[str, ...]:
        """Name the services that the proxy's files know, sorted; nothing is asked or started."""
        return tuple(sorted(spec.load_all(self._home.services)))

    def drift(self, service: str) -> tuple[Drift, ...]:
        """Compare the files with what they should be, and every worker with the files; nothing is changed."""
        if not self._home.services.is_dir():
            return ()
        deadline = self._soon()
        with self._home.reading(deadline):
            self._proxy.ready(deadline)
            found = tuple(self._examination(deadline).drift(service))
        readable = all(fault.repairable for fault in found)
        if self._cards and readable and self._knows(service) and not self._cards.right(service):
            return (*found, Drift(f"the emergency card of {service} is missing or wrong: going back takes longer"))
        return found

    def repair(self, service: str, deadline: Deadline, lost: Mapping[str, Live] = NOTHING) -> None:
        """Make files and workers agree: the files are what holds, or what the proxy does where they are lost.

        What an emergency did at the proxy holds too. Of a service whose value both have lost, it is that of `lost`. A
        proxy of ours that does not respond is started again. Raises DriverFailed, moving nobody, when users would be
        sent where no server is up.
        """
        with self._home.locked(deadline):
            self._restore(lost, deadline)
            reload.fill(self._proxy, self._live, lost, deadline)
            wanted, moves = self._examination(deadline).wanted(service)
            if moves:
                self._refuse_nowhere(service, wanted, deadline)
            reload.repair(self._proxy, self._live, deadline)
            missing = self._examination(deadline).missing(self._spec(service))
        for place, servers in missing.items():
            self.attach(service, place, servers, deadline)
        self.set_traffic(service, wanted, deadline)
        if self._cards:
            self._cards.write(service)

    def _restore(self, lost: Mapping[str, Live], deadline: Deadline) -> None:
        """Start a proxy of ours again that does not respond for some seconds, with files that it can run.

        A team starts its own: for that one the files are written. Raises DriverFailed then.
        """
        try:
            self._proxy.ready(Deadline.after(self._clock, min(ANSWERS_WITHIN, deadline.left())))
        except (DriverFailed, DeadlinePassed, Refused) as failed:
            if self._proxy.own:
                reload.restore(self._proxy, self._live, lost, deadline)
            elif reload.rewrite(self._proxy, self._live, lost, deadline):
                raise DriverFailed(
                    f"{failed.message}; deployer's files for it were missing or edited, and have been written again",
                    "start your HAProxy, then repeat this command",
                ) from None
            else:
                raise

    def _examination(self, deadline: Deadline) -> examination.Examination:
        return examination.Examination(self._proxy, self._live, self._servers, deadline)

    def _end_baseline(self, service: str, deadline: Deadline) -> None:
        with self._home.locked(deadline):
            specs = spec.load_all(self._home.services)
            known = specs[service]
            if known.baseline and not known.baseline.members:
                ended = known.model_copy(update={"baseline": None})
                reload.load(self._proxy, self._live, {**specs, service: ended}, deadline)

    def _facts(self, service: str) -> SpecFacts:
        return SpecFacts(self._home.services, service)

    def _follows(self, release: Release, place: Place | None, deadline: Deadline, key: str) -> bool:
        """Tell whether the running proxy treats a place, or the entry, as the release says already."""
        if not self._facts(release.service).follows(release.manifest, place, key):
            return False
        if self._cards and not self._cards.right(release.service):
            return False
        structure = live_value.load(self._home.state).get(live_value.STRUCTURE)
        return structure is not None and self._proxy.master.answers() and self._live.structure(deadline) == structure

    def _serves(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> bool:
        """Tell whether all of these servers are up at the place, at every current worker and in the file."""
        if not self._facts(service).has(place, servers):
            return False
        wanted, called, master = (
            {(s.name, s.address) for s in servers},
            backend.name(service, place),
            self._proxy.master,
        )

        def serving(worker: Worker) -> bool:
            seen = self._servers.seen(worker, called, deadline).values()
            return wanted <= {(s.name, s.address) for s in seen if s.up and s.passed}

        return master.undisturbed(lambda: all(serving(worker) for worker in master.current(deadline)), deadline)

    def _require(self, service: str) -> None:
        if not self._knows(service):
            raise DriverFailed(f"the proxy does not know {service}", "deploy it first")

    def _knows(self, service: str) -> bool:
        return layout.read(self._home.services / f"{service}.json") is not None

    def _spec(self, service: str) -> Spec:
        known = spec.load(self._home.services, service)
        if known is None:
            raise DriverFailed(f"the proxy does not know {service}", "deploy it first")
        return known

    def _soon(self) -> Deadline:
        return Deadline.after(self._clock, READ_WITHIN)

    def _share(self, service: str) -> int:
        """Give the share in force, from the file that the proxy runs by."""
        value = live_value.load(self._home.state).get(service)
        if value is None:
            return 0
        live = live_value.decode(service, value)
        return 0 if live.budget and live_value.spent(value) >= live.budget else self._in_force(live)

    def _waiting(self, service: str) -> Waiting | None:
        """Count what waits for a response on both sides while a coin sends requests to them; None if nothing does.

        Not where clients may choose their side: those who did are among what is in flight.
        """
        value, entry = live_value.load(self._home.state).get(service), self._spec(service).entry
        share = self._share(service)
        if value is None or not 0 < share < FULL or entry.force.header or entry.force.cookie or entry.force.networks:
            return None
        live, soon = live_value.decode(service, value), self._soon()
        waits = [self._servers.waiting(worker, soon) for worker in self._proxy.master.workers(soon)]
        places = ("baseline" if live.baseline else live.stable, live.candidate)
        of = [[c for each in waits for c in each.get(backend.name(service, place), ())] for place in places]
        # The coin of a sticky tcp service is tossed once for an address, however many connections it has.
        stable, candidate = (len(set(c) if entry.mode == "tcp" and entry.sticky else c) for c in of)
        p = share / (share + live.baseline if live.baseline else FULL)
        return Waiting(p, stable, candidate) if stable or candidate else None

    def _moves_nobody(self, now: Live | None, live: Live) -> bool:
        """Tell whether every user stays where he is: a lease is renewed, or a share that is 0 is made 0."""
        if now is None or now.stable != live.stable or self._in_force(now) != live.share:
            return False
        return live.baseline in (0, now.baseline)

    def _in_force(self, live: Live) -> int:
        return 0 if live.lease and live.lease <= self._clock.now() else live.share

    def _refuse_nowhere(self, service: str, live: Live, deadline: Deadline) -> None:
        """Refuse to point users at a place without a server that is up.

        With all users on stable and no server up on either side, nothing is lost by that.
        """
        up = {place: self._up(service, place, deadline) for place in dict.fromkeys((*COLOURS, *live.used))}
        nothing_to_lose = live.share == 0 and not any(up[colour] for colour in COLOURS)
        missing = [place for place in live.used if not up[place]]
        if missing and not nothing_to_lose:
            seen = "; ".join(f"{s.name}: {s.last}" for s in self._seen(service, missing[0], deadline))
            raise NoServerUp(
                f"{service}: no server of {missing[0]} is up, users are not sent there ({seen or 'it has none'})",
                "`deploy status` shows more",
            )

    def _able(self, worker: Worker, service: str, live: Live, deadline: Deadline) -> bool:
        """Tell whether an old worker has a server for each side that is to get users."""
        sides = (self._servers.seen(worker, backend.name(service, p), deadline) for p in live.used)
        return all(any(s.up for s in side.values()) for side in sides)

    def _seen(self, service: str, place: Place, deadline: Deadline) -> Collection[ServerView]:
        """Read the servers of a place as the current worker has them."""
        master, called = self._proxy.master, backend.name(service, place)
        found = master.undisturbed(lambda: self._servers.seen(master.current(deadline)[0], called, deadline), deadline)
        return found.values()

    def _up(self, service: str, place: Place, deadline: Deadline) -> bool:
        """Tell whether a server of the place is up; after a restart of the proxy, wait for its first checks."""
        settled = Deadline.after(self._clock, min(FIRST_CHECKS, deadline.left()))
        while True:
            seen = self._seen(service, place, deadline)
            if any(s.up and s.checked for s in seen):
                return True
            if all(s.checked or not s.up for s in seen) or settled.passed():
                return False
            self._clock.sleep(0.02)


def _refuse_taken_back(service: str, given: Live, now: Live) -> None:
    if taken_back(given, now):
        raise TakenBack(f"{service}: users were taken off the candidate at the proxy", "`deploy history` shows by whom")


def _refuse_odd(servers: Sequence[Server]) -> None:
    """Refuse what is no name or address: it would be read as a command on the socket of the proxy."""
    for server in servers:
        try:
            spec.BackendServer(name=server.name, address=server.address)
        except ValueError:
            raise DriverFailed(
                f"{server.name[:60]!a} at {server.address[:60]!a} cannot be a server of the proxy",
                "`deploy doctor` shows who made that instance",
            ) from None

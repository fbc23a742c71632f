"""The servers of a service's places, as the workers of the proxy have them together."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import NoServerUp
from deployer.drivers.traffic.haproxy import naming
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.master import MasterSocket, Worker
from deployer.drivers.traffic.haproxy.servers import Servers, ServerView
from deployer.drivers.traffic.haproxy.spec_facts import SpecFacts
from deployer.model import COLOURS, Live, Load, MeasuredTraffic, Place, Server

FIRST_CHECKS = 3.0  # seconds within which a proxy that was just started has checked each server


class Places:
    """What is asked of a place: who is up there, and how much is open. The proxy answers: see `Proxy.ready`."""

    def __init__(self, home: Home, master: MasterSocket, servers: Servers, clock: Clock) -> None:
        self._home = home
        self._master = master
        self._servers = servers
        self._clock = clock

    def seen(self, service: str, place: Place, deadline: Deadline) -> Collection[ServerView]:
        """Read the servers of a place as the current worker has them."""
        master, called = self._master, naming.backend(service, place)
        found = master.undisturbed(lambda: self._servers.seen(master.current(deadline)[0], called, deadline), deadline)
        return found.values()

    def up(self, service: str, place: Place, deadline: Deadline) -> bool:
        """Return whether a server of the place is up; after a restart of the proxy, wait for its first checks."""
        if place in SpecFacts(self._home.services, service).asleep():
            return True  # the waker has its requests, and wakes it
        settled = Deadline.after(self._clock, min(FIRST_CHECKS, deadline.left()))
        while True:
            seen = self.seen(service, place, deadline)
            if any(s.up and s.checked for s in seen):
                return True
            if all(s.checked or not s.up for s in seen) or settled.passed():
                return False
            self._clock.sleep(0.02)

    def serve(self, service: str, place: Place, servers: Sequence[Server], deadline: Deadline) -> bool:
        """Return whether all of these servers are up at the place, at every current worker, with the right limit."""
        wanted, called = {(s.name, s.address) for s in servers}, naming.backend(service, place)
        limit = SpecFacts(self._home.services, service).concurrency(place)

        def serving(worker: Worker) -> bool:
            seen = self._servers.seen(worker, called, deadline).values()
            return wanted <= {(s.name, s.address) for s in seen if s.up and s.passed and s.limit == limit}

        master = self._master
        return master.undisturbed(lambda: all(serving(worker) for worker in master.current(deadline)), deadline)

    def refuse_nowhere(self, service: str, live: Live, deadline: Deadline) -> None:
        """Refuse to point users at a place without a server that is up.

        With all users on stable and no server up on either side, nothing is lost by that.
        """
        up = {place: self.up(service, place, deadline) for place in dict.fromkeys((*COLOURS, *live.used))}
        nothing_to_lose = live.share == 0 and not any(up[colour] for colour in COLOURS)
        missing = [place for place in live.used if not up[place]]
        if missing and not nothing_to_lose:
            seen = "; ".join(f"{s.name}: {s.last}" for s in self.seen(service, missing[0], deadline))
            raise NoServerUp(
                f"{service}: no server of {missing[0]} is up, users are not sent there ({seen or 'it has none'})",
                "`deploy status` shows more",
            )

    def able(self, worker: Worker, service: str, live: Live, deadline: Deadline) -> bool:
        """Return whether an old worker has a server for each side that is to get users."""
        sides = (self._servers.seen(worker, naming.backend(service, p), deadline) for p in live.used)
        return all(any(s.up for s in side.values()) for side in sides)

    def load(self, service: str, places: Sequence[Place], deadline: Deadline) -> dict[Place, Load]:
        """Return what is open at each of the places, at every worker."""
        workers, called = self._master.workers(deadline), {place: naming.backend(service, place) for place in places}
        facts = SpecFacts(self._home.services, service)

        def seen(worker: Worker, place: Place) -> Load:
            load = self._servers.load(worker, called[place], deadline)
            if not facts.ignores(place):
                return load
            return replace(load, wakers=self._servers.last(worker, called[place], deadline))

        return {place: sum((seen(worker, place) for worker in workers), Load()) for place in called}

    def waiting(self, service: str, places: Sequence[Place], deadline: Deadline) -> list[list[str]]:
        """Return the clients of what waits for a response at each of the places, at every worker."""
        waits = [self._servers.waiting(worker, deadline) for worker in self._master.workers(deadline)]
        return [[c for each in waits for c in each.get(naming.backend(service, place), ())] for place in places]

    def measured(self, service: str, places: Sequence[Place], deadline: Deadline) -> MeasuredTraffic | None:
        """Return how many requests come; None when the proxy counts since just now."""
        backends = [naming.backend(service, place) for place in places]
        return self._master.undisturbed(lambda: self._measured(backends, deadline), deadline)

    def _measured(self, backends: Sequence[str], deadline: Deadline) -> MeasuredTraffic | None:
        from deployer.drivers.traffic.haproxy import request_history  # a status asks for no counts

        traffic, before = None, request_history.together(request_history.load(self._home), backends)
        for worker in self._master.current(deadline):
            seconds = self._servers.uptime(worker, deadline)
            if not seconds + before.seconds:
                return None
            counts = [self._servers.served(worker, name, deadline) for name in backends]
            requests, now = (sum(count) for count in zip(*counts, strict=True))
            all_of_it = before.followed_by(request_history.RequestCount(requests, seconds))
            before = request_history.RequestCount()  # it counts once, however many workers there are
            one = MeasuredTraffic(all_of_it.requests / max(all_of_it.seconds, 1.0), all_of_it.seconds, now)
            traffic = traffic + one if traffic else one
        return traffic

"""Servers go: no new requests, the running ones end, the proxy forgets them."""

from __future__ import annotations

from collections.abc import Collection

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy import backend, naming, reload, spec
from deployer.drivers.traffic.haproxy.master import Gone, Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import DRAINING, MAINTENANCE, Servers
from deployer.model import Place

POLL = 0.02
WAITED = backend.RETRIES + 1.0  # seconds after which nobody waits any more for servers that were down


def still_open(
    proxy: Proxy, servers: Servers, backend: str, names: Collection[str], deadline: Deadline
) -> tuple[int, int]:
    """Count what runs on servers of a backend, and clients whose next request may still go there.

    Old workers hold the connections they had. They do not learn that a server leaves, so the connections of clients
    that just wait must end first: they do with their next answer, or after the keep-alive time-out.
    """
    running = waiting = 0
    for worker in proxy.master.workers(deadline):
        try:
            seen = servers.seen(worker, backend, deadline)
            known = [seen[name] for name in names if name in seen]
            running += sum(server.running for server in known)
            if worker.old and known:
                waiting += servers.idle(worker, deadline)
        except Gone:
            continue
    return running, waiting


class Leaving:
    """One call of `Traffic.drain` or `Traffic.detach`."""

    def __init__(self, proxy: Proxy, servers: Servers, service: str, place: Place, names: tuple[str, ...]) -> None:
        self._proxy = proxy
        self._servers = servers
        self._service = service
        self._place = place
        self._names = names
        self._backend = naming.backend(service, place)

    def drain(self, began: Deadline, patience: Deadline) -> int:
        """Take the servers out of rotation by `began`, then wait with `patience`; return what is still running."""
        self._attend(began, patience)
        with self._proxy.home.locked(began):
            side = self._spec().side(self._place).leaving(self._names)
            reload.persist(self._proxy, self._spec().with_side(self._place, side))
            self._proxy.master.undisturbed(lambda: self._out_of_rotation(began), began)
        running = 0

        def drained() -> bool:
            nonlocal running
            running, waiting = still_open(self._proxy, self._servers, self._backend, self._names, began)
            return not (running or waiting)

        patience.wait(drained, every=POLL)
        return running

    def _attend(self, began: Deadline, patience: Deadline) -> None:
        """Let the servers first take whoever waits for them since they were down: nobody else could.

        New requests go elsewhere already, or this ends by its time.
        """
        enough = Deadline.after(patience.clock, min(WAITED, max(patience.left(), 0.0)))
        current = self._proxy.master.current
        enough.wait(lambda: not any(self._awaited(worker, began) for worker in current(began)), every=POLL)

    def _awaited(self, worker: Worker, deadline: Deadline) -> bool:
        """Return whether requests wait for these servers and for no other one. A slow client's may look like that."""
        try:
            seen, waiting = self._servers.crowd(worker, self._backend, deadline)
        except Gone:
            return False
        leaving = [seen[name] for name in self._names if name in seen]
        stays = any(server.up for name, server in seen.items() if name not in self._names)
        return waiting > 0 and not stays and any(s.since < WAITED or not s.up for s in leaving)

    def _out_of_rotation(self, deadline: Deadline) -> None:
        # A server in drain still gets clients that keep their instance; one in maintenance does not.
        out = "maint" if self._spec().side(self._place).keeps_instance else "drain"
        for worker in self._proxy.master.current(deadline):
            self._state(worker, out, deadline)
            self._read_back(worker, deadline)

    def forget(self, deadline: Deadline) -> None:
        """Cut what is left and delete."""
        with self._proxy.home.locked(deadline):
            side = self._spec().side(self._place).without(self._names)
            reload.persist(self._proxy, self._spec().with_side(self._place, side))
            workers = self._proxy.master.workers(deadline)
            for worker in workers:
                if not worker.old:
                    self._state(worker, "maint", deadline)
        for worker in workers:
            try:
                self._forget(worker, deadline)
            except Gone:
                continue  # and with it what it knew

    def _spec(self) -> spec.Spec:
        return spec.require(self._proxy.home.services, self._service)

    def _state(self, worker: Worker, state: str, deadline: Deadline) -> None:
        for name in self._names:
            self._servers.state(worker, self._backend, name, state, deadline)

    def _read_back(self, worker: Worker, deadline: Deadline) -> None:
        # Not the status: a server that is down never shows DRAIN.
        asked = self._servers.admin(worker, self._backend, deadline)
        for name in self._names:
            if name in asked and not asked[name] & (DRAINING | MAINTENANCE):
                raise DriverFailed(f"the proxy did not take {name} out of rotation", "try again")

    def _forget(self, worker: Worker, deadline: Deadline) -> None:
        said: dict[str, str] = {}
        while left := self._left(worker, deadline):
            for name in left:
                self._servers.cut(worker, self._backend, name, deadline)
                if not worker.old:
                    said[name] = self._servers.delete(worker, self._backend, name, deadline)
            if deadline.passed():
                raise DeadlinePassed(
                    f"the proxy did not remove {left[0]} within {deadline.seconds:g} s: {said.get(left[0], 'in use')}",
                    "run the command again; no user is sent there any more",
                )
            deadline.clock.sleep(POLL)

    def _left(self, worker: Worker, deadline: Deadline) -> list[str]:
        seen = self._servers.seen(worker, self._backend, deadline)
        # An old worker ends by itself: there it is enough that nothing runs on the server any more.
        return [n for n in self._names if n in seen and not (worker.old and seen[n].running == 0)]

"""Servers go: no new requests, the running ones end, the proxy forgets them."""

from __future__ import annotations

from deployer.clock import Deadline
from deployer.drivers.traffic.haproxy import backend, loading, spec
from deployer.drivers.traffic.haproxy.master import Gone, Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import DRAINING, MAINTENANCE, Servers, on_all
from deployer.errors import DeadlinePassed, DriverFailed
from deployer.model import Colour

POLL = 0.02


class Leaving:
    """One call of `Traffic.drain` or `Traffic.detach`."""

    def __init__(self, proxy: Proxy, servers: Servers, service: str, colour: Colour, names: tuple[str, ...]) -> None:
        self._proxy = proxy
        self._servers = servers
        self._service = service
        self._colour = colour
        self._names = names
        self._backend = backend.name(service, colour)

    def drain(self, began: Deadline, patience: Deadline) -> int:
        """Take the servers out of rotation by `began`, then wait with `patience`; give what is still running."""
        with self._proxy.home.locked(began):
            side = self._spec().side(self._colour).leaving(self._names)
            loading.persist(self._proxy, self._spec().with_side(self._colour, side))
            on_all(self._proxy.master.workers(began), lambda worker: self._state(worker, "drain", began))
            self._read_back(began)
        while (running := self._running(began)) and not patience.passed():
            patience.clock.sleep(min(POLL, max(patience.left(), 0.001)))
        return running

    def forget(self, deadline: Deadline) -> None:
        """Cut what is left and delete."""
        with self._proxy.home.locked(deadline):
            side = self._spec().side(self._colour).without(self._names)
            loading.persist(self._proxy, self._spec().with_side(self._colour, side))
            workers = self._proxy.master.workers(deadline)
            on_all(workers, lambda worker: self._state(worker, "maint", deadline))
        on_all(workers, lambda worker: self._forget(worker, deadline))

    def _spec(self) -> spec.Spec:
        known = spec.load(self._proxy.home.services, self._service)
        if known is None:
            raise DriverFailed(f"the proxy does not know {self._service}", "deploy it first")
        return known

    def _state(self, worker: Worker, state: str, deadline: Deadline) -> None:
        for name in self._names:
            self._servers.state(worker, self._backend, name, state, deadline)

    def _read_back(self, deadline: Deadline) -> None:
        # Not the status: a server that is down never shows DRAIN.
        for worker in self._proxy.master.current(deadline):
            asked = self._servers.admin(worker, self._backend, deadline)
            for name in self._names:
                if name in asked and not asked[name] & (DRAINING | MAINTENANCE):
                    raise DriverFailed(f"the proxy did not take {name} out of rotation", "try again")

    def _running(self, deadline: Deadline) -> int:
        """Count what runs on the servers, on old workers too: those still hold the connections they had."""
        total = 0
        for worker in self._proxy.master.workers(deadline):
            try:
                seen = self._servers.seen(worker, self._backend, deadline)
            except Gone:
                continue
            total += sum(seen[name].running for name in self._names if name in seen)
        return total

    def _forget(self, worker: Worker, deadline: Deadline) -> None:
        for name in self._names:
            self._servers.cut(worker, self._backend, name, deadline)
        said: dict[str, str] = {}
        while left := self._left(worker, deadline):
            for name in left:
                said[name] = self._servers.delete(worker, self._backend, name, deadline)
            if deadline.passed():
                raise DeadlinePassed(
                    f"the proxy does not forget {left[0]} within {deadline.seconds:g} s: {said[left[0]]}",
                    "repeat it; no user is sent there any more",
                )
            deadline.clock.sleep(POLL)

    def _left(self, worker: Worker, deadline: Deadline) -> list[str]:
        seen = self._servers.seen(worker, self._backend, deadline)
        # An old worker ends by itself: there it is enough that nothing runs on the server any more.
        return [n for n in self._names if n in seen and not (worker.old and seen[n].running == 0)]

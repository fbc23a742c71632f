"""Servers come: known to the proxy, checked by it, and only then in rotation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy import backend, naming, reload, spec
from deployer.drivers.traffic.haproxy.master import Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import Servers, ServerView
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Place, Server

POLL = 0.02
T = TypeVar("T")
CLEAN_UP = 5.0  # seconds to take back servers that did not come up


class Attaching:
    """One call of `Traffic.attach`, or of `Traffic.introduce` before it."""

    def __init__(self, proxy: Proxy, servers: Servers, service: str, place: Place, wanted: tuple[Server, ...]) -> None:
        self._proxy = proxy
        self._servers = servers
        self._service = service
        self._place = place
        self._wanted = wanted
        self._backend = naming.backend(service, place)

    def introduce(self, deadline: Deadline) -> None:
        """Have those checked that no worker knows yet."""
        self._proxy.master.undisturbed(lambda: self._introduce_new(deadline), deadline)

    def _introduce_new(self, deadline: Deadline) -> None:
        for worker in self._proxy.master.current(deadline):
            seen = self._servers.seen(worker, self._backend, deadline)
            for server in self._wanted:
                if server.name not in seen:
                    self._introduce(worker, server, deadline)

    def run(self, deadline: Deadline) -> None:
        """Introduce, wait for the checks, admit."""
        try:
            self._await_checks(deadline)
        except DeadlinePassed:
            self._take_back(Deadline.after(deadline.clock, CLEAN_UP))
            raise
        with self._proxy.home.locked(deadline):
            # Only now into the file: a proxy that is restarted gives requests at once to every server it reads there.
            side = self._spec().side(self._place).having(self._wanted)
            reload.persist(self._proxy, self._spec().with_side(self._place, side))
            self._proxy.master.undisturbed(lambda: self._into_rotation(deadline), deadline)
        self._await_up(deadline)

    def _spec(self) -> Spec:
        return spec.require(self._proxy.home.services, self._service)

    def _await_checks(self, deadline: Deadline) -> None:
        """Wait without the lock; a reload meanwhile forgets what is not in the file yet, so it is told again."""
        last: dict[str, str] = {}
        if waiting := self._left(lambda: self._waiting(last, deadline), list(self._wanted), deadline):
            server = waiting[0]
            raise DeadlinePassed(
                f"{server.name} at {server.address} does not pass the proxy's check within {deadline.seconds:g} s:"
                f" {last.get(server.name, 'not checked yet')}",
                "is it listening there, and does `health` fit it? It got no request of a user",
            )

    def _waiting(self, last: dict[str, str], deadline: Deadline) -> list[Server]:
        """Take each server a step further; return those that are not checked yet, and note what their checks saw."""
        waiting = []
        for worker in self._proxy.master.current(deadline):
            seen = self._servers.seen(worker, self._backend, deadline)
            waiting += [s for s in self._wanted if not self._checked(worker, s, seen.get(s.name), deadline)]
            # While a check is in progress, what the one before it saw may be left out.
            last |= {name: server.last for name, server in seen.items() if server.tells or name not in last}
        return waiting

    def _checked(self, worker: Worker, server: Server, seen: ServerView | None, deadline: Deadline) -> bool:
        """Take the next step towards a checked server; return whether it is one."""
        if seen is None:
            self._introduce(worker, server, deadline)
            return False
        if seen.address != server.address:
            self._servers.state(worker, self._backend, server.name, "maint", deadline)
            self._servers.cut(worker, self._backend, server.name, deadline)
            self._servers.delete(worker, self._backend, server.name, deadline)
            return False
        if seen.status.startswith("MAINT"):
            self._servers.check(worker, self._backend, server.name, deadline)
            return False
        return seen.passed

    def _into_rotation(self, deadline: Deadline) -> None:
        # Old workers cannot learn of servers any more; `LiveMap.write` takes care that they need not.
        for worker in self._proxy.master.current(deadline):
            self._admit(worker, deadline)
            if self._spec().side(self._place).starter:  # who slept is awake
                self._servers.state(worker, self._backend, naming.WAKER, "maint", deadline)

    def _admit(self, worker: Worker, deadline: Deadline) -> None:
        seen = self._servers.seen(worker, self._backend, deadline)
        for server in self._wanted:
            if server.name not in seen:
                self._introduce(worker, server, deadline)
            self._servers.state(worker, self._backend, server.name, "ready", deadline)
            if most := self._spec().side(self._place).concurrency:
                self._servers.limit(worker, self._backend, server.name, most, deadline)

    def _introduce(self, worker: Worker, server: Server, deadline: Deadline) -> None:
        options = backend.server_options(self._spec(), self._place, server.name)
        self._servers.introduce(worker, self._backend, server.name, server.address, options, deadline)

    def _await_up(self, deadline: Deadline) -> None:
        """Read back that they get requests. One that has just failed a check may pass the next ones."""
        unseen = [
            f"{server.name} passed its checks, but the proxy was not asked whether it is up" for server in self._wanted
        ]
        if down := self._left(lambda: list(self._down(deadline)), unseen, deadline):
            raise DeadlinePassed(f"{down[0]} within {deadline.seconds:g} s", "did it just end?")

    def _left(self, look: Callable[[], list[T]], unseen: list[T], deadline: Deadline) -> list[T]:
        """Look until nothing is left; return what was, as last seen: `unseen` where the proxy was not seen in time.

        Raise DriverFailed where nobody listens at the proxy at the end: that says nothing about the servers.
        """
        left = unseen

        def nothing() -> bool:
            nonlocal left
            try:
                left = self._proxy.master.undisturbed(look, deadline)
            except DriverFailed:
                if deadline.left() > POLL or not self._proxy.master.answers():
                    raise
                # The question had no time left for its response: what was seen before says more.
            return not left

        deadline.wait(nothing, every=POLL)
        return left

    def _down(self, deadline: Deadline) -> Iterator[str]:
        """Yield, for each server that gets no requests, what the proxy has."""
        for worker in self._proxy.master.current(deadline):
            seen = self._servers.seen(worker, self._backend, deadline)
            for server in self._wanted:
                found = seen.get(server.name)
                if found is None or not found.up:
                    status = f"{found.status} ({found.last})" if found else "unknown"
                    yield f"{server.name} passed its checks, but the proxy has it as {status}: not up"

    def _take_back(self, deadline: Deadline) -> None:
        """Forget servers that the proxy knew only for this attempt; those of the file were there before."""
        with self._proxy.home.locked(deadline):
            kept = {m.name for m in self._spec().side(self._place).members}
            for worker in self._proxy.master.current(deadline):
                for server in self._wanted:
                    if server.name not in kept:
                        self._servers.state(worker, self._backend, server.name, "maint", deadline)
                        self._servers.delete(worker, self._backend, server.name, deadline)

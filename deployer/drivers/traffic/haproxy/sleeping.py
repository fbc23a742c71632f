"""A service goes to sleep and wakes, at the proxy: its instances leave the rotation and come back, the waker instead.

Files first, then every worker, then read back. An old worker that a reload replaced knows of neither: what waits there
passes the waker.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy import naming, reload, spec
from deployer.drivers.traffic.haproxy.draining import still_open
from deployer.drivers.traffic.haproxy.master import Worker
from deployer.drivers.traffic.haproxy.naming import WAKER
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.servers import MAINTENANCE, Servers
from deployer.drivers.traffic.haproxy.waker_process import WakerProcess
from deployer.model import Colour, Place

POLL = 0.02
STARTED = 0x04  # of MAINTENANCE: how the file had a server at the start of the worker, whatever became of it
OUT = MAINTENANCE & ~STARTED


class HAProxySleep:
    """What one proxy does for services that sleep while nobody comes."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    @property
    def folder(self) -> Path:
        """The folder in which the waker has what is its own."""
        return self._parts.home.waker

    def asleep(self, service: str) -> Mapping[Place, float]:
        """Return the places whose release sleeps, and since when; only the file is read."""
        return self._parts.facts(service).asleep()

    def side(self, service: str, colour: Colour) -> spec.BackendSide:
        """Return what the proxy knows of a place. Raise DriverFailed where it does not know the service."""
        return spec.require(self._parts.home.services, service).side(colour)

    def attend(self, deadline: Deadline) -> None:
        """Have the waker run. Raise DriverFailed or DeadlinePassed where it does not."""
        WakerProcess(self._parts.home).ensure(deadline)

    def close(self, service: str, colour: Colour, since: float, deadline: Deadline) -> None:
        """Send all new requests of a place to the waker, and none to an instance; what runs goes on."""
        self.attend(deadline)
        with self._parts.answering(deadline):
            self._backend(service, colour).turn(self.side(service, colour).sleeping(since), deadline)

    def open(self, service: str, colour: Colour, deadline: Deadline) -> None:
        """Send the requests of a place to its instances again; they answer already, so no check is waited for."""
        with self._parts.answering(deadline):
            self._backend(service, colour).turn(self.side(service, colour).awake(), deadline)

    def half_open(self, service: str, colour: Colour, deadline: Deadline) -> bool:
        """Return whether a worker still sends to the waker what the files give to the instances; nobody changes it now.

        A proxy that does not say so is believed to be as its files.
        """
        side = self.side(service, colour)
        if not side.starter or side != side.awake() or not self._backend(service, colour).wakes(deadline):
            return False
        with self._parts.home.locked(deadline):  # whoever wrote the files may have been telling the workers
            side = self.side(service, colour)
            return side == side.awake() and self._backend(service, colour).wakes(deadline)

    def drained(self, service: str, colour: Colour, patience: Deadline, deadline: Deadline) -> bool:
        """Wait until no request is on an instance of a place, and none can come there; return whether it is so."""
        sleeping = self._backend(service, colour)
        return patience.wait(lambda: not sleeping.in_use(deadline), every=POLL)

    def _backend(self, service: str, colour: Colour) -> _SleepingBackend:
        if not self.side(service, colour).starter:
            raise DriverFailed(f"{service} has no waker in {colour}", "deploy it with `scale.min: 0`")
        return _SleepingBackend(self._parts.proxy, self._parts.servers, service, colour)


class _SleepingBackend:
    """The backend of a place at every worker."""

    def __init__(self, proxy: Proxy, servers: Servers, service: str, colour: Colour) -> None:
        self._proxy, self._servers = proxy, servers
        self._service, self._colour = service, colour
        self._backend = naming.backend(service, colour)

    def turn(self, side: spec.BackendSide, deadline: Deadline) -> None:
        """Have the place be like this: in the files, then at every worker, then read back."""
        known = spec.require(self._proxy.home.services, self._service)
        reload.persist(self._proxy, known.with_side(self._colour, side))
        self._proxy.master.undisturbed(lambda: self._tell(side, deadline), deadline)

    def _tell(self, side: spec.BackendSide, deadline: Deadline) -> None:
        names, asleep = [member.name for member in side.members], bool(side.asleep)
        for worker in self._proxy.master.current(deadline):
            # Somebody is in rotation at each instant: who comes in between is lost to nobody.
            if asleep:
                self._servers.state(worker, self._backend, WAKER, "ready", deadline)
            for name in names:
                if asleep:
                    self._servers.state(worker, self._backend, name, "maint", deadline)
                else:
                    self._servers.rouse(worker, self._backend, name, deadline)
                    self._servers.limit(worker, self._backend, name, side.concurrency, deadline)
            if not asleep:
                self._servers.state(worker, self._backend, WAKER, "maint", deadline)
            self._read_back(worker, names, asleep, deadline)

    def _read_back(self, worker: Worker, names: list[str], asleep: bool, deadline: Deadline) -> None:
        asked = self._servers.admin(worker, self._backend, deadline)
        wrong = [name for name in names if bool(asked.get(name, 0) & OUT) != asleep]
        if wrong or bool(asked.get(WAKER, 0) & OUT) == asleep:
            raise DriverFailed(
                f"the proxy did not {'close' if asleep else 'open'} {', '.join(wrong) or WAKER} of {self._backend}",
                "see `deploy doctor`",
            )

    def wakes(self, deadline: Deadline) -> bool:
        """Return whether a worker sends requests to the waker; of one that does not answer it is not believed."""
        with suppress(DriverFailed, DeadlinePassed):
            workers = self._proxy.master.current(deadline)
            asked = [self._servers.admin(worker, self._backend, deadline).get(WAKER, OUT) for worker in workers]
            return any(not admin & OUT for admin in asked)
        return False

    def in_use(self, deadline: Deadline) -> bool:
        """Return whether a request is on an instance or on the waker, or a client may still send one there, unseen."""
        members = spec.require(self._proxy.home.services, self._service).side(self._colour).members
        names = (*(member.name for member in members), WAKER)
        return any(still_open(self._proxy, self._servers, self._backend, names, deadline))

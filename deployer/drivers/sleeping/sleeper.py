"""Puts a service of this host to sleep, and wakes it; one of both at a time, whoever asks.

What is needed for that lies beside the proxy: which instances stood, how they are started, how they are asked whether
they are healthy. Neither the store nor the keeper is needed to wake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from deployer.core import files
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DeployError, DriverFailed
from deployer.core.filelock import FileLock
from deployer.core.undo import undone
from deployer.drivers.checks.direct import probe
from deployer.drivers.ports.sleeping import Wake
from deployer.drivers.sleeping.starters import DockerStarter, ProcessStarter, Starter
from deployer.drivers.sleeping.wakes import Wakes
from deployer.drivers.traffic.haproxy.parts import Parts
from deployer.drivers.traffic.haproxy.sleeping import HAProxySleep
from deployer.drivers.traffic.haproxy.spec import BackendServer, BackendSide
from deployer.model import Colour, Place

LOOK_SECONDS = 0.01  # between two looks at an instance that starts
START_SECONDS = 30.0  # for a start, beside the time that it has to become healthy


class LocalSleeper:
    """Services of one state folder, with the proxy and the instances on this host."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._proxy = HAProxySleep(Parts(state / "proxy", clock, None, None, state))
        self._state, self._clock = state, clock
        self._starters: dict[str, Starter] = {}

    def asleep(self, service: str) -> Mapping[Place, float]:
        """Return the places whose release sleeps, and since when."""
        return self._proxy.asleep(service)

    def attend(self, deadline: Deadline) -> None:
        """Have the waker run."""
        self._proxy.attend(deadline)

    def prepare(self, service: str, colour: Colour) -> None:
        """Have at hand what it takes to wake a place, before somebody waits for that."""
        self._starter(self.side(service, colour)).prepare()

    def wakes(self, service: str) -> tuple[Wake, ...]:
        """Return what became of the newest starts by requests."""
        return Wakes(self._proxy.folder, service).all()

    def side(self, service: str, colour: Colour) -> BackendSide:
        """Return what the proxy knows of a place. Raise DriverFailed where it does not know the service."""
        return self._proxy.side(service, colour)

    def sleep(self, service: str, colour: Colour, grace: float, patience: Deadline, deadline: Deadline) -> bool:
        """Stop or pause what is in a place, and give its requests to the waker; False where somebody came meanwhile."""
        # Also where the files say so: whoever wrote them may have been killed before he told the proxy.
        since = self.asleep(service).get(colour) or self._clock.now()
        self._proxy.close(service, colour, since, deadline)
        if not self._proxy.drained(service, colour, patience, deadline):
            with self._locked(service, deadline):
                self._proxy.open(service, colour, deadline)
            return False
        with self._locked(service, deadline):
            side = self.side(service, colour)
            if not side.asleep:  # a request came first, and found all of it running
                return False
            for member in side.members:
                if side.pauses:
                    self._starter(side).pause(member.name, deadline)
                else:
                    self._starter(side).stop(member.name, grace, deadline)
        return True

    def wake(self, service: str, colour: Colour) -> BackendServer:
        """Start what sleeps in a place, and give it its requests once it is healthy; return one of its instances.

        Raise DeployError or OSError where it cannot be started, or is not healthy in time: it sleeps on then; and where
        the proxy cannot be told.
        """
        side = self.side(service, colour)
        deadline = Deadline.after(self._clock, START_SECONDS + side.health.deadline)
        times = [self._clock.now()]
        with self._locked(service, deadline):
            side = self.side(service, colour)
            if not side.members:
                raise DriverFailed(f"{service} has no instance in {colour}", "see `deploy status`")
            if side.asleep:
                self._rouse(service, side, times, deadline)
            elif not self._proxy.half_open(service, colour, deadline):
                return side.members[0]
            self._open(service, colour, side, times, deadline)
        return side.members[0]

    def rests_for(self, service: str, colour: Colour) -> float:
        """Return for how many seconds no start of what sleeps in a place is tried, as its last ones failed."""
        return self._wakes(service, self.side(service, colour)).rests_for(self._clock.now())

    def _rouse(self, service: str, side: BackendSide, times: list[float], deadline: Deadline) -> None:
        """Start what does not run, and wait until all is healthy; what was started here is stopped where it is not."""
        started: list[str] = []
        with undone(lambda: self._stop(side, started)), self._failure_noted(service, side, times):
            for member in side.members:
                if self._starter(side).start(member.name, deadline):
                    started.append(member.name)
            times.append(self._clock.now())
            self._await_health(side, deadline)
            times.append(self._clock.now())

    def _open(self, service: str, colour: Colour, side: BackendSide, times: list[float], deadline: Deadline) -> None:
        """Send a place its requests; where that fails it runs on, and the next wake does it again."""
        with self._failure_noted(service, side, times):
            self._proxy.open(service, colour, deadline)
        self._note(service, side, times, "")

    @contextmanager
    def _failure_noted(self, service: str, side: BackendSide, times: list[float]) -> Iterator[None]:
        """Write down why the block failed."""
        try:
            yield
        except (OSError, DeployError) as error:
            with suppress(OSError):  # that this cannot be written must not hide it
                self._note(service, side, times, str(error))
            raise

    def _await_health(self, side: BackendSide, deadline: Deadline) -> None:
        within = Deadline.after(self._clock, min(side.health.deadline, deadline.left()))
        for member in side.members:
            self._await(side, member, within)

    def _await(self, side: BackendSide, member: BackendServer, deadline: Deadline) -> None:
        """Wait until an instance passes its health check once: it has been healthy before."""
        seen = "not asked yet"

        def healthy() -> bool:
            nonlocal seen
            seen = probe(side.health, member.address, min(side.health.timeout, max(deadline.left(), 0.01)))
            return not seen

        if not deadline.wait(healthy, every=LOOK_SECONDS):
            raise DeadlinePassed(
                f"{member.name} is not healthy {deadline.seconds:g} s after its start: {seen}", "see `deploy logs`"
            )

    def _stop(self, side: BackendSide, started: list[str]) -> None:
        """Stop what did not start as it should: the next request tries again."""
        deadline = Deadline.after(self._clock, START_SECONDS)
        for name in started:
            self._starter(side).stop(name, 1.0, deadline)

    def _note(self, service: str, side: BackendSide, times: list[float], error: str) -> None:
        self._wakes(service, side).add((*times, self._clock.now()), error)

    def _wakes(self, service: str, side: BackendSide) -> Wakes:
        return Wakes(self._proxy.folder, service, side.members[0].name if side.members else "")

    def _starter(self, side: BackendSide) -> Starter:
        if side.starter not in self._starters:
            made = DockerStarter() if side.starter == "docker" else ProcessStarter(self._state, self._clock)
            self._starters[side.starter] = made
        return self._starters[side.starter]

    def _locked(self, service: str, deadline: Deadline) -> AbstractContextManager[None]:
        files.folder(self._proxy.folder)
        return FileLock(self._proxy.folder / f"{service}.lock").held(max(deadline.left(), 0.1))

"""One host of a fleet: its engine, and whether it answers.

A host that gave no answer is asked again in the background, so that whoever looks at all of them every second does
not wait for it each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from deployer.core.clock import Clock
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable, Unreachable
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from deployer.transport.fanout import on_all
from deployer.transport.reachability import LastHeard

AT_ONCE = 20  # hosts that are asked at the same time
T = TypeVar("T")


class FleetHost:
    """A host by its name in the inventory; "" is this one."""

    def __init__(self, name: str, engine: Engine, runtime: DockerRuntime, clock: Clock) -> None:
        self.name, self.engine, self.runtime = name, engine, runtime
        self._silence = LastHeard[str](name, clock)  # why it did not answer

    def read(self, work: Callable[[DockerRuntime], T]) -> T:
        """Ask its runtime something that it answers at once; raises HostsUnreachable when it does not."""
        self._refuse()
        try:
            return work(self.runtime)
        except (Unreachable, DeadlinePassed) as error:
            raise self._lost(error) from error
        except DriverFailed as error:
            raise self._named(error) from error

    def do(self, work: Callable[[DockerRuntime], T]) -> T:
        """Let its runtime do something that takes its time; raises HostsUnreachable when the host does not respond."""
        self._refuse()
        try:
            return work(self.runtime)
        except Unreachable as error:
            raise self._lost(error) from error
        except DeadlinePassed as error:
            if (why := self._ping()) is not None:  # else it answers, and only what was asked for took too long
                raise self._lost(Unreachable(why)) from error
            raise
        except DriverFailed as error:
            raise self._named(error) from error

    def _named(self, error: DriverFailed) -> DriverFailed:
        where = f"{self.name}: " if self.name and self.name not in error.message else ""
        return type(error)(f"{where}{error.message}", error.hint, log=error.log)

    # -- silence

    def _refuse(self) -> None:
        """Raise HostsUnreachable where the host was just found silent."""
        if (silent := self._silence.known(self._ping)) is not None:
            raise HostsUnreachable({self.name: silent})

    def _ping(self) -> str | None:
        """Ask whether the engine is there; return why not."""
        try:
            self.engine.ping()
        except (DriverFailed, DeadlinePassed) as error:
            return _why(error)
        return None

    def _lost(self, error: Unreachable | DeadlinePassed) -> HostsUnreachable:
        why = _why(error)
        self._silence.keep(why)
        return HostsUnreachable({self.name: why})


def _why(error: DriverFailed | DeadlinePassed) -> str:
    return error.message.removeprefix("ping: ")


def answers(members: Mapping[str, FleetHost], work: Callable[[FleetHost], T], least: int | None = None) -> dict[str, T]:
    """Do something on hosts at the same time. Return what each one answered, by its name.

    Raise HostsUnreachable for those that did not answer, unless `least` of them did (all, if it is not given), with
    what the others gave where that is a tuple.
    """
    came = on_all(members, work, AT_ONCE)
    given, silent = came.ok, dict[str, str]()
    for error in came.failed.values():
        if not isinstance(error, HostsUnreachable):
            raise error
        silent |= error.silent
    if silent and len(given) < (len(members) if least is None else least):
        seen = tuple(each for part in given.values() if isinstance(part, tuple) for each in part)
        raise HostsUnreachable(silent, seen)
    return given

"""One machine of a fleet: its engine, and whether it answers.

A machine that gave no answer is asked again in the background, so that whoever looks at all of them every second does
not wait for it each time.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from deployer.core.clock import Clock
from deployer.core.errors import DeadlinePassed, DriverFailed, MachinesSilent, Unreachable
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.runtime import DockerRuntime

AGAIN_SECONDS = 2.0  # between two questions to a machine that is silent
STALE_SECONDS = 10.0  # after which what is known of its silence is too old to be believed
T = TypeVar("T")


class FleetHost:
    """A machine by its name in the inventory; "" is this one."""

    def __init__(self, name: str, engine: Engine, runtime: DockerRuntime, clock: Clock) -> None:
        self.name, self.engine, self.runtime = name, engine, runtime
        self._clock = clock
        self._mutex = threading.Lock()
        self._silent = ""  # why it did not answer; empty while it does
        self._asked = 0.0  # when this was found, or found again
        self._asking = False

    def read(self, work: Callable[[DockerRuntime], T]) -> T:
        """Ask its runtime something that it answers at once; raises MachinesSilent when it does not."""
        self._refuse()
        try:
            return work(self.runtime)
        except (Unreachable, DeadlinePassed) as error:
            raise self._lost(error) from error
        except DriverFailed as error:
            raise self._named(error) from error

    def do(self, work: Callable[[DockerRuntime], T]) -> T:
        """Let its runtime do something that takes its time; raises MachinesSilent when the machine does not respond."""
        self._refuse()
        try:
            return work(self.runtime)
        except Unreachable as error:
            raise self._lost(error) from error
        except DeadlinePassed as error:
            if why := self._ping():  # else it answers, and only what was asked for took too long
                raise self._lost(Unreachable(why)) from error
            raise
        except DriverFailed as error:
            raise self._named(error) from error

    def _named(self, error: DriverFailed) -> DriverFailed:
        where = f"{self.name}: " if self.name and self.name not in error.message else ""
        return type(error)(f"{where}{error.message}", error.hint, log=error.log)

    # -- silence

    def _refuse(self) -> None:
        """Raise MachinesSilent where the machine was just found silent."""
        with self._mutex:
            silent, age = self._silent, self._clock.monotonic() - self._asked
            ask = bool(silent) and not self._asking and age >= AGAIN_SECONDS
            self._asking = self._asking or ask
        if not silent:
            return
        if ask and age < STALE_SECONDS:
            threading.Thread(target=self._ask, name=f"knock-{self.name}", daemon=True).start()
        elif ask:
            self._ask()
            silent = self._silent
        if silent:
            raise MachinesSilent({self.name: silent})

    def _ask(self) -> None:
        why = self._ping()
        with self._mutex:
            self._silent, self._asked, self._asking = why, self._clock.monotonic(), False

    def _ping(self) -> str:
        """Ask whether the engine is there; give why not, or nothing."""
        try:
            self.engine.ping()
        except (DriverFailed, DeadlinePassed) as error:
            return _why(error)
        return ""

    def _lost(self, error: Unreachable | DeadlinePassed) -> MachinesSilent:
        why = _why(error)
        with self._mutex:
            self._silent, self._asked = why, self._clock.monotonic()
        return MachinesSilent({self.name: why})


def _why(error: DriverFailed | DeadlinePassed) -> str:
    return error.message.removeprefix("ping: ")

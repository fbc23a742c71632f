"""A scheduler of jobs that looks when a test says so, and a clock that is turned forward to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from deployer.app.jobs.scheduler import Scheduler
from deployer.app.operations import AppContext
from deployer.planning.orders import StopRequest
from tests.house import Scene, house

DAY = 86_400.0


class Clockwork:
    """A scheduler over houses of their own, as a server and a timer have."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.said = scene, list[str]()
        self.scheduler = Scheduler(self._opened, lambda text, _run: self.said.append(text))

    @contextmanager
    def _opened(self, stop: StopRequest) -> Iterator[AppContext]:
        with house(self.scene.house.store.folder, self.scene.world) as opened:
            opened.stop = stop
            yield opened

    def look(self) -> list[str]:
        """Look once, and wait for what was started."""
        self.said.clear()
        self.scheduler.look()
        self.scheduler._threads.join(30)
        return [line if "\n" in line else line.split(",")[0] for line in self.said]


def to(scene: Scene, hour: float) -> None:
    """Turn the clock forward to an hour of the day."""
    clock = scene.world.clock
    clock.sleep((hour * 3600 - clock.now()) % DAY)
    scene.world.flows.clear()  # the requests of those hours are not simulated

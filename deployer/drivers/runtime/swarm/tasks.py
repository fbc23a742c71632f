"""The containers of tasks: their output, commands in them, and their end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, HostsUnreachable
from deployer.drivers.runtime import log_lines
from deployer.drivers.runtime.docker import commands
from deployer.drivers.runtime.docker.engine import CALL, find_container
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.swarm import api
from deployer.drivers.runtime.swarm.managers import Managers
from deployer.drivers.runtime.swarm.nodes import Links
from deployer.drivers.runtime.swarm.options import Standing

if TYPE_CHECKING:
    import docker

T = TypeVar("T")
LOOK_SECONDS = 0.1
LOST = ("down", "unknown")  # states of a node; a new leader has not heard from one that is unknown


class TaskContainers:
    """The containers of the tasks of instances, on nodes whose engine is reached; their output, on all nodes."""

    def __init__(self, managers: Managers, links: Links, clock: Clock) -> None:
        self._managers, self._links, self._clock = managers, links, clock

    def logs(self, standing: Standing, lines: int) -> tuple[str, ...]:
        """Return the last lines, of all its tasks that are known."""

        def read(client: docker.DockerClient) -> bytes:
            return b"".join(client.api.service_logs(standing.service["ID"], stdout=True, stderr=True, tail=lines))  # type: ignore[arg-type]

        text = self._managers.ask(f"logs of {standing.name}", read)
        return tuple(text.decode("utf-8", "replace").splitlines()[-lines:])

    def count_lines(self, standing: Standing, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        """Return in how many lines of the last seconds the pattern is found."""
        since = int(self._clock.now() - seconds)

        def read(client: docker.DockerClient) -> int:
            written = client.api.service_logs(standing.service["ID"], stdout=True, stderr=True, since=since)
            return log_lines.count(iter(written), pattern, deadline)

        return self._managers.ask(f"logs of {standing.name}", read, min(CALL, deadline.left()))

    def run(self, standing: Standing, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the container of its task. Raise DriverFailed where there is none, or no way to it."""
        task = standing.task
        container = _container(task)
        if task is None or not container:
            raise DriverFailed(f"{standing.name} does not run now", "see `deploy status`")
        engine = self._links.by_node().get(str(task["NodeID"]))
        if engine is None:
            raise DriverFailed(
                f"{' '.join(command)} in {standing.name}: the engine of its node is not reached from here",
                "name a group of the inventory with all nodes in `hosts`",
            )

        def run(client: docker.DockerClient) -> tuple[int, str]:
            return commands.run(client, container, command, deadline)

        return engine.do(lambda _r: _with(engine, f"{' '.join(command)} in {standing.name}", run, deadline.left()))

    def await_gone(self, name: str, tasks: Sequence[Mapping[str, Any]], grace: float, deadline: Deadline) -> None:
        """Wait until the tasks of a service that is removed are gone; kill, after `grace`, what can be reached."""
        left = [str(task["ID"]) for task in tasks]
        patience = Deadline.after(self._clock, min(grace, deadline.left()))
        killed = False

        def gone() -> bool:
            nonlocal killed
            lost = LOST if patience.passed() else LOST[:1]
            left[:] = self._managers.ask(f"tasks of {name}", lambda client: api.tasks_left(client, left, lost))
            if left and not killed and patience.passed():
                killed = True
                for task in tasks:
                    self._kill(name, task)
            return not left

        deadline.until(gone, f"remove {name}", every=LOOK_SECONDS)

    def _kill(self, name: str, task: Mapping[str, Any]) -> None:
        """Kill the container of a task; without a way to its engine the Swarm does it after `stop.grace`."""
        engine, container = self._links.by_node().get(str(task.get("NodeID", ""))), _container(task)
        if engine is None or not container:
            return

        def kill(client: docker.DockerClient) -> None:
            import docker.errors

            found = find_container(client, container)
            if found is not None and found.status == "running":
                with suppress(docker.errors.APIError):  # it has ended just now
                    found.kill()

        try:
            engine.do(lambda _runtime: _with(engine, f"kill {name}", kill))
        except HostsUnreachable:
            return  # the Swarm knows of it, too


def _with(engine: FleetHost, what: str, work: Callable[[docker.DockerClient], T], seconds: float | None = None) -> T:
    with engine.engine.client(what, seconds) as client:
        return work(client)


def _container(task: Mapping[str, Any] | None) -> str:
    return str(((task or {}).get("Status") or {}).get("ContainerStatus", {}).get("ContainerID") or "")

"""Stopping instances so that they can be started again as they were, by their names alone."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from deployer import supervisor
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.runtime.docker import options
from deployer.drivers.runtime.docker.engine import CALL, Engine, find_container
from deployer.supervisor import spec as specs


class Starter(Protocol):
    """Stops and starts instances; neither makes nor removes any."""

    def prepare(self) -> None:
        """Have at hand what a start needs: the first one is to take no longer than the others."""
        ...

    def stop(self, name: str, grace: float, deadline: Deadline) -> None:
        """Signal an instance, wait up to `grace` seconds, kill; it stays where it is. Raise DriverFailed."""
        ...

    def pause(self, name: str, deadline: Deadline) -> None:
        """Keep an instance in memory where it is, without processor time. Raise DriverFailed."""
        ...

    def start(self, name: str, deadline: Deadline) -> bool:
        """Start an instance that was stopped or paused, and tell whether it was; one that runs is left alone.

        Raise DriverFailed where it is gone.
        """
        ...


class ProcessStarter:
    """Instances that are supervised processes of a state folder."""

    def __init__(self, state: Path, clock: Clock) -> None:
        self._folder, self._clock = state / "processes", clock

    def prepare(self) -> None:
        """Do nothing: it is all there."""

    def stop(self, name: str, grace: float, deadline: Deadline) -> None:
        """Stop a process; its folder stays."""
        supervisor.stop(self._folder / name, Deadline.after(self._clock, min(grace, deadline.left())), asleep=True)

    def pause(self, name: str, deadline: Deadline) -> None:
        """Pause a process with all of its group."""
        supervisor.pause(self._folder / name, deadline)

    def start(self, name: str, deadline: Deadline) -> bool:
        """Start a process by its own spec, or have it go on."""
        try:
            spec = specs.load(self._folder / name)
        except FileNotFoundError:
            raise DriverFailed(f"{name} is gone: there is no {self._folder / name}", "see `deploy doctor`") from None
        before = supervisor.read_status(self._folder / name)
        status = supervisor.ensure_running(self._folder / name, spec, deadline)
        return before is None or before.state != "running" or before.program != status.program


class DockerStarter:
    """Instances that are containers of the engine of this host."""

    def __init__(self, engine: Engine | None = None) -> None:
        self._engine = engine or Engine()

    def prepare(self) -> None:
        """Import the client of the engine, which takes as long as half a start."""
        importlib.import_module("docker")

    def stop(self, name: str, grace: float, deadline: Deadline) -> None:
        """Stop a container; the engine does not start it by itself."""
        wait = options.grace(min(grace, deadline.left()))
        with self._engine.client(f"stop {name}", wait + CALL) as client:
            container = find_container(client, name)
            if container is not None:
                container.stop(timeout=wait)

    def pause(self, name: str, deadline: Deadline) -> None:
        """Pause a container; one that does not run stays as it is."""
        with self._engine.client(f"pause {name}", min(CALL, deadline.left())) as client:
            container = find_container(client, name)
            if container is not None and container.status == "running":
                container.pause()

    def start(self, name: str, deadline: Deadline) -> bool:
        """Start a container, or have it go on."""
        with self._engine.client(f"start {name}", min(CALL, deadline.left())) as client:
            container = find_container(client, name)
            if container is None or not options.made(container.attrs):
                raise DriverFailed(f"{name} is gone: the engine has no such container", "see `deploy doctor`")
            if container.status == "running":
                return False
            if container.status == "paused":
                container.unpause()
            else:
                container.start()
            return True

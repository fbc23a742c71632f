"""Runs of jobs as containers of their own: of no environment, behind no proxy, never started again.

Their labels are not those of instances, so that nothing takes one for the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from deployer.core.background import BackgroundThread
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.core.undo import undone
from deployer.drivers.jobs import FoundRun, JobSpec
from deployer.drivers.runtime.docker import options
from deployer.drivers.runtime.docker.commands import cut
from deployer.drivers.runtime.docker.creation import create
from deployer.drivers.runtime.docker.engine import CALL, Engine, discard, find_container, readable
from deployer.drivers.runtime.docker.images import Shelf
from deployer.drivers.runtime.environ import chosen_secrets, job_environment

if TYPE_CHECKING:
    from docker.models.containers import Container
    from docker.types.daemon import CancellableStream

PREFIX = "deployer.job."
LOOK_SECONDS = 0.2  # between two looks whether a run is to be left


class DockerJobs:
    """Runs of jobs on one engine."""

    def __init__(self, engine: Engine, installation: str, shelf: Shelf) -> None:
        self._engine, self._installation, self._shelf = engine, installation, shelf

    def start(self, spec: JobSpec, deadline: Deadline) -> None:
        """Start a run; of one that does not start, nothing is left."""
        import docker.errors

        with self._engine.client(spec.name, min(CALL, deadline.left())) as client:
            self._shelf.keep(client, spec.release)
            made = create(
                client,
                arguments(spec, self._installation),
                spec.release.manifest.networks,
                chosen_secrets(spec, "file"),
            )
            # An engine that does not respond in time may have started it all the same.
            with undone(lambda: made.remove(force=True, v=True)):
                try:
                    made.start()
                except docker.errors.APIError as error:
                    why = f"{spec.name} does not start: {error.explanation}"
                    raise DriverFailed(why, f"check `{spec.at}`, `mounts` and `user`") from error

    def read(self, name: str, _host: str) -> FoundRun | None:
        """Read a run; None when there is none of that name."""
        with self._engine.client(name) as client:
            container = self._find(client, name)
            return None if container is None else found(container.attrs)

    def follow(
        self,
        name: str,
        _host: str,
        write: Callable[[bytes], None],
        deadline: Deadline,
        stopped: Callable[[], bool],
    ) -> None:
        """Pass on all that a run prints, until it ends, `stopped` says so, or the time is over."""
        with self._engine.client(name, deadline.left()) as client:
            container = self._find(client, name)
            if container is None:
                return
            if readable(container):
                stream = client.api.logs(str(container.id), stdout=True, stderr=True, stream=True, follow=True)
                with _left(stream, lambda: stopped() or deadline.passed()):
                    for chunk in stream:
                        write(chunk)
            else:
                write(f"({name}: its log driver cannot be read)\n".encode())
            deadline.wait(
                lambda: stopped() or not _runs(client.api.inspect_container(str(container.id))), every=LOOK_SECONDS
            )

    def remove(self, name: str, _host: str, grace: float, deadline: Deadline) -> None:
        """Signal the run if it still goes on, wait up to `grace` seconds, kill, remove it with its volumes."""
        with self._engine.client(f"remove {name}", min(CALL, deadline.left()) + grace) as client:
            container = self._find(client, name)
            if container is None:
                return
            if _runs(container.attrs):
                client.api.stop(str(container.id), timeout=options.grace(min(grace, deadline.left())))
            discard(self._engine, client, container, deadline)

    def list_all(self) -> tuple[FoundRun, ...]:
        """Read all runs of this installation that are there."""
        wanted = [f"{PREFIX}installation={self._installation}"]
        seen = [found(attributes) for attributes in self._engine.containers("runs of jobs", wanted)]
        return tuple(sorted((run for run in seen if run), key=lambda run: run.number))

    def _find(self, client: Any, name: str) -> Container | None:
        container = find_container(client, name)
        if container is None:
            return None
        if (container.labels or {}).get(f"{PREFIX}installation") != self._installation or not found(container.attrs):
            raise DriverFailed(f"a container named {name} exists that deployer does not manage", "rename or remove it")
        return container


def arguments(spec: JobSpec, installation: str) -> dict[str, Any]:
    """Return the arguments of `containers.create` for a run."""
    manifest, job = spec.release.manifest, spec.settings
    entrypoint: Sequence[str] | None = job.entrypoint or manifest.entrypoint
    values = {
        "installation": installation,
        "service": spec.release.service,
        "job": spec.job,
        "run": spec.number,
        "release": spec.release.number,
    }
    return {
        "image": spec.release.image_id,
        "command": list(job.command),
        "entrypoint": list(entrypoint) if entrypoint else None,
        "name": spec.name,
        "labels": {PREFIX + key: str(value) for key, value in values.items()},
        "environment": job_environment(spec, options.SECRETS),
        **options.contained(manifest, job.limits or manifest.limits),
        "restart_policy": {"Name": "no"},
    }


def found(attributes: Mapping[str, Any]) -> FoundRun | None:
    """Read a run from what `docker inspect` says; None for a container that only carries the labels of one."""
    labels, state = attributes["Config"].get("Labels") or {}, attributes["State"]
    try:
        run = FoundRun(labels[PREFIX + "service"], labels[PREFIX + "job"], int(labels[PREFIX + "run"]), "running")
    except (KeyError, ValueError):
        return None
    if attributes["Name"].lstrip("/") != run.name:
        return None
    if state["Status"] == "created":
        return replace(run, state="created")
    return run if _runs(attributes) else replace(run, state="exited", exit_code=state.get("ExitCode"))


def _runs(attributes: Mapping[str, Any]) -> bool:
    return attributes["State"]["Status"] in ("running", "paused", "restarting")


@contextmanager
def _left(stream: CancellableStream[bytes], stopped: Callable[[], bool]) -> Iterator[None]:
    """Cut a stream once `stopped` says so: the SDK waits for output without asking anybody."""

    def look(over: threading.Event) -> None:
        while not over.wait(LOOK_SECONDS):
            if stopped():
                cut(stream)
                return

    with BackgroundThread("job output", look):
        yield

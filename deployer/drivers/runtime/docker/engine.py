"""The connection to a Docker engine: every call bounded in time, every error of the SDK turned into one of ours."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused, Unreachable
from deployer.core.limits import READABLE_LOGS
from deployer.drivers.runtime.docker import reading
from deployer.drivers.runtime.docker.bounds import TooLarge, bound
from deployer.transport import contexts
from deployer.transport.ssh import forward

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.images import Image

SOCKET = "/var/run/docker.sock"
PING = 5.0  # seconds for an engine to show that it is there
CALL = 20.0  # seconds that an engine may take for a call which does not itself wait for something
Connect = Callable[[float, str | None], "docker.DockerClient"]


def connect(timeout: float, version: str | None) -> docker.DockerClient:
    """Connect to the engine of DOCKER_HOST or DOCKER_CONTEXT, else to the local one.

    A known `version` saves a question.
    """
    import docker

    environ = contexts.resolved(os.environ)
    client = docker.from_env(timeout=timeout, version=version, environment=environ)  # type: ignore[arg-type]  # float is fine for requests
    bound(client, timeout)
    return client


def knock(address: str, timeout: float) -> None:
    """Try the socket of a local engine: the SDK leaks one for each failed attempt, and words the failure badly."""
    if not address.startswith("unix://"):
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(timeout)
        probe.connect(address.removeprefix("unix://"))


class Engine:
    """Makes short-lived clients: one client would share its time-out among threads and deadlines.

    `address` says in errors which engine it is, where it is not the one of DOCKER_HOST; `call` are the seconds that it
    may take for a call which does not itself wait for something.
    """

    def __init__(self, connect: Connect = connect, address: str = "", call: float = CALL) -> None:
        self._connect = connect
        self._address = address
        self._call = call
        self._version: str | None = None

    @property
    def address(self) -> str:
        """Where the engine is expected."""
        return self._address or contexts.resolved(os.environ).get("DOCKER_HOST") or f"unix://{SOCKET}"

    def require(self) -> None:
        """Raise Refused, with what to do, when no engine answers."""
        if self.address.startswith("ssh://"):
            # The SDK starts an ssh for every call and gives it no time-out: a pulled cable would hang for ever.
            raise Refused(
                f"{self.address}: Docker over ssh:// has no time-outs",
                f"forward the socket instead: {forward('$HOME/engine.sock', SOCKET)}, then "
                "DOCKER_HOST=unix://$HOME/engine.sock",
            )
        try:
            self.ping()
        except (DriverFailed, DeadlinePassed) as error:
            remedy = "start it, set DOCKER_HOST or DOCKER_CONTEXT, or set `runtime: process`"
            if (chosen := contexts.current(os.environ)) and chosen != os.environ.get("DOCKER_CONTEXT"):
                remedy = f"the command docker uses its context {chosen}: DOCKER_CONTEXT={chosen} takes the same engine"
            if isinstance(error.__cause__, PermissionError):
                remedy = "log in as a user of its group (usually `docker`), or set `runtime: process`"
            raise Refused(error.message.removeprefix("ping: "), remedy) from error

    def ping(self) -> None:
        """Ask whether it is there. Raises DriverFailed or DeadlinePassed when it is not."""
        with self.client("ping", PING) as client:
            client.ping()

    def lets_live(self) -> bool:
        """Return whether containers live on without it (`live-restore`); one that does not say is taken at its best."""
        with self.client("what it does with containers when it ends") as client:
            return client.info().get("LiveRestoreEnabled") is not False

    def manages(self) -> bool:
        """Return whether it is a manager of a Swarm; one that does not respond is none."""
        try:
            if self._connect is connect and self.address.startswith(reading.SCHEME):
                said = reading.info("info of the engine", self.address, PING)
            else:
                with self.client("info of the engine", PING) as client:
                    said = client.info()
        except (DriverFailed, DeadlinePassed):
            return False
        return bool((said.get("Swarm") or {}).get("ControlAvailable"))

    def containers(self, what: str, labels: Sequence[str]) -> list[dict[str, Any]]:
        """Read what `docker inspect` says of all containers with these labels; one removed meanwhile is left out."""
        if self._connect is connect and self.address.startswith(reading.SCHEME):
            return reading.containers(what, self.address, labels, self._call)
        with self.client(what) as client:
            found = client.containers.list(all=True, filters={"label": list(labels)}, ignore_removed=True)
            return [container.attrs for container in found]

    @contextmanager
    def client(self, what: str, seconds: float | None = None) -> Iterator[docker.DockerClient]:
        """Connect for one operation whose calls may take `seconds` each; `what` begins the sentence of an error."""
        timeout = max(self._call if seconds is None else seconds, 0.1)
        with translated(what, self.address, timeout):
            knock(self.address, timeout)
            client = self._connect(timeout, self._version)
            try:
                self._version = client.api.api_version
                yield client
            finally:
                client.close()


@contextmanager
def translated(what: str, address: str, seconds: float) -> Iterator[None]:
    """Turn every exception of the SDK and of what lies below it into DeadlinePassed or DriverFailed."""
    import docker.errors
    import requests
    import urllib3

    try:
        yield
    except docker.errors.APIError as error:
        raise DriverFailed(f"{what}: {_said(error)}") from error
    except TooLarge as error:
        raise DriverFailed(f"{what}: the Docker engine at {address} is not trusted: {error}") from error
    except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
        raise DeadlinePassed(
            f"{what}: the Docker engine at {address} did not respond within {seconds:.3g} s"
        ) from error
    # StreamParseError does not descend from DockerException; OSError covers the sockets that streams are read from.
    except (docker.errors.DockerException, docker.errors.StreamParseError) as error:
        # The SDK asks for the engine's version first, and wraps whatever happens to that question.
        if isinstance(error.__cause__ or error.__context__, requests.Timeout):
            late = f"{what}: the Docker engine at {address} did not respond within {seconds:.3g} s"
            raise DeadlinePassed(late) from error
        if isinstance(error.__cause__ or error.__context__, requests.RequestException):
            raise Unreachable(f"{what}: no Docker engine at {address} ({error})") from error
        raise DriverFailed(f"{what}: {error}") from error
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unreachable(
            f"{what}: no Docker engine at {address} ({getattr(error, 'strerror', None) or error})"
        ) from error


def _said(error: docker.errors.APIError) -> str:
    text = error.explanation
    return (text.decode("utf-8", "replace") if isinstance(text, bytes) else text) or str(error)


def find_container(client: docker.DockerClient, name: str) -> Container | None:
    """Find a container by name or id; None when there is none."""
    import docker.errors

    try:
        return client.containers.get(name)
    except docker.errors.NotFound:
        return None


def find_image(client: docker.DockerClient, reference: str) -> Image | None:
    """Find a local image by reference or id; None when there is none."""
    import docker.errors

    try:
        return client.images.get(reference)
    except docker.errors.NotFound:
        return None


def in_use(error: BaseException) -> bool:
    """Return whether the engine refused because something is still used or is being removed right now (HTTP 409)."""
    import docker.errors

    cause = error.__cause__ if isinstance(error, DriverFailed) else error
    return isinstance(cause, docker.errors.APIError) and cause.status_code == 409


def discard(engine: Engine, client: docker.DockerClient, container: Container, deadline: Deadline) -> None:
    """Remove a container, whatever it does, and wait until the engine has forgotten it."""
    identity = str(container.id)
    try:
        with engine.client(f"remove {container.name}", min(CALL, deadline.left())) as remover:
            remover.api.remove_container(identity, force=True, v=True)
    except DriverFailed as error:
        if find_container(client, identity) is not None and not in_use(error):
            raise
    deadline.until(lambda: find_container(client, identity) is None, f"remove {container.name}")


def readable(container: Container) -> bool:
    """Return whether the engine can read what a container printed."""
    return container.attrs["HostConfig"]["LogConfig"]["Type"] in READABLE_LOGS

"""The data of containers: what they mount and write to, copied through a container that is never started.

So it is read and written as the engine sees it, on whichever host that is, with owners and modes.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

from deployer.bundle import data, tape
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.undo import afterwards, undone
from deployer.drivers.ports.data import Restoring, SavedData
from deployer.drivers.runtime.data_lock import alone
from deployer.drivers.runtime.docker.engine import Engine, find_container
from deployer.drivers.runtime.docker.room import told_full
from deployer.manifest.sections import Mount

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container
    from docker.models.volumes import Volume

_LABEL = "io.deployer.data"  # on the containers through which data goes


class DockerData:
    """The data below the `mounts` of a service, by their places in its instances; `folder` is for copies and a lock."""

    kind: Literal["mount", "playbook"] = "mount"

    def __init__(self, mounts: Sequence[Mount], folder: Path, engine: Engine | None = None) -> None:
        self._sources = {mount.target: mount.source for mount in mounts if not mount.read_only}
        self._folder, self._engine = folder, engine or Engine()

    def names(self) -> tuple[str, ...]:
        """Return the places in an instance where it may write to what outlives it."""
        if not self._sources:
            raise Refused("the service has no data of its own", "`mounts` names volumes and folders that it writes to")
        return tuple(sorted(self._sources))

    def save(self, name: str, image: str, target: Path, deadline: Deadline) -> None:
        """Copy what is mounted there into a file; nothing may be running that mounts it."""
        source = self.source(name)
        with alone(self._folder, deadline), self._engine.client(f"save {source}", deadline.left()) as client:
            _refuse_used(client, source)
            if not source.startswith("/") and _volume(client, source) is None:
                raise Refused(f"the engine has no volume {source}", f"there is nothing to save for {name}")
            with target.open("wb") as file:
                self._read(client, source, image, file, deadline)
            _refuse_used(client, source)

    def is_free(self, name: str, image: str, deadline: Deadline, *, overwrite: bool) -> bool:
        """Return whether nothing is in what is mounted there, or it is a volume, which can be removed."""
        source = self.source(name)
        if overwrite and not source.startswith("/"):
            return True
        with alone(self._folder, deadline), self._engine.client(f"look into {source}", deadline.left()) as client:
            return self._is_empty(client, source, image, deadline)

    def restore(self, name: str, image: str, saved: SavedData, deadline: Deadline, how: Restoring) -> None:
        """Fill a volume or a folder and read it back; a volume that was not filled to the end is removed."""
        source = self.source(name)
        with alone(self._folder, deadline), self._engine.client(f"restore {source}", deadline.left()) as client:
            _refuse_used(client, source)
            replaced = (how.overwrite or how.begun) and not source.startswith("/")
            if replaced:
                _remove_left(client, source)
                _refuse_owned(client, source)
            elif not how.begun and not self._is_empty(client, source, image, deadline):
                raise Refused(f"{source} is not empty", "deployer removes nothing of a folder: empty it by hand")
            how.begins()
            if replaced:
                _cleared(client, source)
            with undone(lambda: _cleared(client, source)):
                with self._mounted(client, source, image, read_only=False) as container:
                    self._fill(client, container, source, saved, deadline)
                if (found := self._digest(client, source, image, deadline)) != saved.digest:
                    raise Refused(
                        f"{source} does not read back as written: {found[:19]} instead of {saved.digest[:19]}",
                        "does something else write to it, or does its file system keep no owners and modes?",
                    )

    def _fill(
        self, client: docker.DockerClient, container: Container, source: str, saved: SavedData, deadline: Deadline
    ) -> None:
        import docker.errors

        pieces = deadline.over(filter(None, saved.read()), f"fill {source}")
        try:
            client.api.put_archive(str(container.id), "/", pieces)
        except docker.errors.APIError as error:
            said, hint = told_full(self._engine, str(error.explanation))
            raise Refused(f"{source} cannot be filled with {saved.size:,} bytes: {said}", hint) from error

    def source(self, name: str) -> str:
        """Return the volume or the folder that is mounted there."""
        if name not in self._sources:
            raise Refused(
                f"the bundle has data for {name}, where the service mounts nothing that it writes to", "see `mounts`"
            )
        return self._sources[name]

    def _digest(self, client: docker.DockerClient, source: str, image: str, deadline: Deadline) -> str:
        hashed = data.Hashed()
        self._read(client, source, image, hashed, deadline)
        return hashed.digest

    def _is_empty(self, client: docker.DockerClient, source: str, image: str, deadline: Deadline) -> bool:
        if not source.startswith("/") and _volume(client, source) is None:
            return True
        with self._archive(client, source, image, deadline) as archive:
            return not data.holds_something(archive)

    def _read(
        self, client: docker.DockerClient, source: str, image: str, file: data.ByteSink, deadline: Deadline
    ) -> None:
        try:
            with self._archive(client, source, image, deadline) as archive:
                data.normalise(archive, file)
        except (ValueError, tarfile.TarError) as error:
            raise Refused(f"{source} cannot be saved: {error}", "remove that, or save the data by a command") from None

    @contextmanager
    def _archive(
        self, client: docker.DockerClient, source: str, image: str, deadline: Deadline
    ) -> Iterator[Iterable[bytes]]:
        with self._mounted(client, source, image, read_only=True) as container:
            pieces, _ = client.api.get_archive(str(container.id), f"/{data.FOLDER}", chunk_size=tape.CHUNK)
            with closing(pieces):  # an engine that is still sending never removes the container
                yield deadline.over(pieces, f"read {source}")

    @contextmanager
    def _mounted(self, client: docker.DockerClient, source: str, image: str, *, read_only: bool) -> Iterator[Container]:
        """Make a container that mounts it, and remove it."""
        import docker.errors
        from docker.types import Mount as EngineMount

        kind: Literal["bind", "volume"] = "bind" if source.startswith("/") else "volume"
        options: dict[str, Any] = {} if kind == "bind" else {"no_copy": True}
        mount = EngineMount(f"/{data.FOLDER}", source, type=kind, read_only=read_only, **options)
        _remove_left(client, source)
        try:
            made = client.containers.create(
                image,
                ["none"],
                entrypoint=["none"],
                name=_name(source),
                mounts=[mount],
                labels={_LABEL: source},
                network_mode="none",
            )
        except docker.errors.APIError as error:
            raise Refused(f"{source} cannot be mounted: {error.explanation}", "see `mounts`") from error
        with afterwards(lambda: made.remove(force=True, v=True)):
            yield made


def _name(source: str) -> str:
    return f"deployer-data-{hashlib.sha256(source.encode()).hexdigest()[:12]}"


def _remove_left(client: docker.DockerClient, source: str) -> None:
    """Remove the container that a killed command has left."""
    left = find_container(client, _name(source))
    if left is not None and _LABEL in left.labels:
        left.remove(force=True, v=True)


def _volume(client: docker.DockerClient, name: str) -> Volume | None:
    import docker.errors

    try:
        return client.volumes.get(name)
    except docker.errors.NotFound:
        return None


def _cleared(client: docker.DockerClient, source: str) -> None:
    """Remove a volume and make it again as it was; a folder of the host stays as it is."""
    volume = None if source.startswith("/") else _volume(client, source)
    if volume is None:
        return
    made = volume.attrs
    volume.remove()
    options, labels = made.get("Options") or {}, made.get("Labels") or {}
    if options or labels or made["Driver"] != "local":  # else the engine makes it by itself
        client.volumes.create(source, driver=made["Driver"], driver_opts=options, labels=labels)


def _refuse_owned(client: docker.DockerClient, volume: str) -> None:
    """Raise Refused where a container, running or not, has a volume that is to be replaced."""
    if owners := client.api.containers(all=True, filters={"volume": volume}):
        names = ", ".join(str(each["Names"][0]).removeprefix("/") for each in owners)
        raise Refused(f"volume {volume} belongs to {names}", "remove these containers first: `deploy down`")


def _refuse_used(client: docker.DockerClient, source: str) -> None:
    """Raise Refused where a container is running that mounts it, or a folder below or above it."""
    for listed in client.api.containers():
        for mount in listed.get("Mounts") or ():
            if source == mount.get("Name") or _touch(source, str(mount.get("Source", ""))):
                name = str(listed["Names"][0]).removeprefix("/")
                raise Refused(f"{name} is running with {source}", "stop the service first: `deploy down`")


def _touch(one: str, other: str) -> bool:
    if not one.startswith("/") or not other.startswith("/"):
        return False
    paths = PurePosixPath(one), PurePosixPath(other)
    return paths[0].is_relative_to(paths[1]) or paths[1].is_relative_to(paths[0])

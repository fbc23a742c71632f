"""Runs instances as containers of one Docker engine. Owns only what it made, under the label of its installation."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.events import Tell
from deployer.drivers.ports import Found, Image
from deployer.drivers.runtime import log_lines
from deployer.drivers.runtime.docker import commands, images, options
from deployer.drivers.runtime.docker.creation import create
from deployer.drivers.runtime.docker.engine import CALL, Engine, discard, find_container, readable
from deployer.drivers.runtime.docker.ground import HostGround
from deployer.drivers.runtime.docker.guests import DockerGuests, is_guest, refuse_unbounded
from deployer.drivers.runtime.docker.jobs import DockerJobs
from deployer.drivers.runtime.environ import chosen_secrets
from deployer.drivers.runtime.identity import labels, same
from deployer.model import Instance, InstanceSpec, Release

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

    from deployer.manifest.models import Manifest


class DockerRuntime:
    """The runtime `docker`. `installation` names the store: two of them on one engine never meet.

    `home` says on which host and in which state folder it lies, for whoever has to find it again. Without an engine
    it is the one that DOCKER_HOST names, else that of this host. `ground` is the host of the engine, for guests.
    """

    moves = False

    def __init__(
        self,
        clock: Clock,
        installation: str,
        engine: Engine | None = None,
        home: str = "",
        ground: HostGround | None = None,
    ) -> None:
        self._clock = clock
        self._installation = installation
        self._home = home
        self._engine = engine or Engine()
        self._shelf = images.Shelf(self._engine, installation)
        self.guests = DockerGuests(self._engine, ground)

    @property
    def jobs(self) -> DockerJobs:
        """Runs of jobs on this engine."""
        return DockerJobs(self._engine, self._installation, self._shelf)

    def require(self) -> None:
        """Raise Refused when no engine answers."""
        self._engine.require()

    def lets_live(self) -> bool:
        """Return whether containers live on when the engine ends."""
        return self._engine.lets_live()

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Fetch the image if it is not here and pin it; check what else the manifest needs of the engine."""
        self._engine.require()
        image = images.resolve(self._engine, reference, deadline, tell)
        self.check_networks(manifest)
        return image

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all containers of the service, whatever their state, ordered by release and index."""
        seen = [options.observed(attributes) for attributes in self._labelled(service) if self._mine(attributes)]
        return tuple(sorted(seen, key=lambda instance: (instance.release, instance.index)))

    def _labelled(self, service: str) -> list[dict[str, Any]]:
        """Read what carries our labels; what another command removes meanwhile is not reported, and no error."""
        ours = {"installation": self._installation, "service": service}
        wanted = [f"{options.PREFIX}{key}={value}" for key, value in ours.items()]
        return self._engine.containers(f"containers of {service}", wanted)

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the container run as specified; one that runs already so is left alone."""
        refuse_unbounded(spec.release)
        if spec.release.terms:
            self.guests.prepare(spec.release.terms)
        with self._engine.client(spec.name, min(CALL, deadline.left())) as client:
            container = find_container(client, spec.name)
            if container is not None and not self._mine(container.attrs):
                raise DriverFailed(
                    f"a container named {spec.name} exists that deployer does not manage ({container.short_id})",
                    "rename or remove it; deployer touches only what it made",
                )
            with self.guests.raised() if spec.release.terms else nullcontext():
                if container is not None and not self._keeps(container, spec):
                    discard(self._engine, client, container, deadline)
                    container = None
                if container is None:
                    container = self._create(client, spec)
                _start(container, spec)
                container.reload()
                if spec.release.terms:
                    self.guests.hold(container, spec.release.terms)
            return options.observed(container.attrs)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Signal the container, wait up to `grace` seconds, kill, remove it with its anonymous volumes."""
        with self._engine.client(f"remove {instance.name}", min(CALL, deadline.left())) as client:
            container = find_container(client, instance.runtime_id)
            if container is None:
                return
            if not self._mine(container.attrs):
                raise DriverFailed(
                    f"{instance.name} is no longer managed by deployer", "look at it with `docker inspect`"
                )
            wait = options.grace(min(grace, deadline.left()))
        if is_guest(container.attrs):
            self.guests.end(container, wait, deadline)
        else:
            with self._engine.client(f"stop {instance.name}", wait + CALL) as client:  # its work may take its time
                client.api.stop(instance.runtime_id, timeout=wait)
        with self._engine.client(f"remove {instance.name}", min(CALL, deadline.left())) as client:
            discard(self._engine, client, container, deadline)

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines; empty when the container is gone or its log driver cannot be read."""
        if lines <= 0:
            return ()
        with self._engine.client(f"logs of {instance.name}") as client:
            container = find_container(client, instance.runtime_id)
            if container is None or not readable(container):
                return ()
            text = container.logs(stdout=True, stderr=True, tail=lines)
        return tuple(text.decode("utf-8", "replace").splitlines())

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        """Return in how many lines of the last seconds the pattern is found; the engine knows when each was written."""
        with self._engine.client(f"logs of {instance.name}", min(CALL, deadline.left())) as client:
            container = find_container(client, instance.runtime_id)
            if container is None:
                return 0
            since = self._clock.now() - seconds
            written = container.logs(stdout=True, stderr=True, since=since, stream=True, follow=False)
            return log_lines.count(written, pattern, deadline)

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the container; return its exit code and what it printed."""
        with self._engine.client(f"{' '.join(command)} in {instance.name}", deadline.left()) as client:
            return commands.run(client, instance.runtime_id, command, deadline)

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when the engine does not have the image of the release any more."""
        with self._engine.client(f"image of {release.name}") as client:
            self._shelf.image(client, release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no container uses; return what was removed."""
        return self._shelf.prune(keep, drop)

    def list_all(self) -> tuple[Found, ...]:
        """Read every container that a deployer made, of any service and any store."""
        containers = self._engine.containers("containers of all services", [f"{options.PREFIX}installation"])
        seen = [options.found(attributes) for attributes in containers if _made(attributes)]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the containers with the name or the labels of an instance of the service that we did not make."""
        with self._engine.client(f"containers called {service}") as client:
            # The engine looks for the pattern anywhere in the name, which begins with a slash.
            like = f"^/?{re.escape(service)}-r[0-9]+-[0-9]+$"
            named = client.containers.list(all=True, filters={"name": like}, ignore_removed=True)
            found = [*(container.attrs for container in named), *self._labelled(service)]
        return tuple(sorted({str(each["Name"]).lstrip("/") for each in found if not self._mine(each)}))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the tags of ours on images that no release in `keep` and no container has."""
        return self._shelf.unneeded(keep)

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Take these tags away, and with the last one of an image the image."""
        return self._shelf.untag(self._shelf.unneeded(keep))

    def _mine(self, attributes: Mapping[str, Any]) -> bool:
        labels = attributes["Config"].get("Labels") or {}
        return labels.get(f"{options.PREFIX}installation") == self._installation and _made(attributes)

    def _keeps(self, container: Container, spec: InstanceSpec) -> bool:
        """Return whether the container may stay.

        One that was never started may lack its secrets or networks, its maker having died in between: it is rewritten.
        """
        wanted = labels(spec, self._installation, self._home, options.PREFIX)
        begun = container.status not in {"created", "removing", "dead"}
        return begun and same(container.labels, wanted, options.PREFIX)

    def _create(self, client: docker.DockerClient, spec: InstanceSpec) -> Container:
        self._shelf.keep(client, spec.release)
        arguments = options.create(spec, self._installation, self._home)
        if terms := spec.release.terms:
            arguments = self.guests.confined(client, arguments, spec.release.service, terms)
        networks, files = spec.release.manifest.networks, chosen_secrets(spec, "file")
        return create(client, arguments, networks, files, spec.release.service)

    def check_networks(self, manifest: Manifest) -> None:
        """Raise Refused when the engine lacks a network that the manifest names."""
        if not manifest.networks:
            return
        with self._engine.client("networks") as client:
            known = {str(name) for network in client.networks.list() for name in (network.name, network.id)}
        missing = [name for name in manifest.networks if name not in known]
        if missing:
            raise Refused(
                f"networks: the Docker engine has no network {', '.join(missing)}",
                f"make it: docker network create {missing[0]}",
            )


def _start(container: Container, spec: InstanceSpec) -> None:
    """Start or unpause the container if it needs it; one that cannot be started is not left behind."""
    import docker.errors

    try:
        match container.status:
            case "running" | "restarting":
                return
            case "paused":
                container.unpause()
            case _:
                container.start()
    except docker.errors.APIError as error:
        container.remove(force=True, v=True)
        said = str(error.explanation)
        # The engine answers 500 to all of these; its words are the only thing that tells a taken port.
        if "address already in use" in said or "port is already allocated" in said:
            raise DriverFailed(
                f"{spec.name} cannot have {spec.address}: another program listens there", "stop it, then try again"
            ) from error
        raise DriverFailed(f"{spec.name} does not start: {said}", "check `command`, `mounts` and `user`") from error


def _made(attributes: Mapping[str, Any]) -> bool:
    """Return whether a deployer made the container; not one whose labels are not what we write."""
    try:
        return options.made(attributes)
    except (KeyError, ValueError):
        return False

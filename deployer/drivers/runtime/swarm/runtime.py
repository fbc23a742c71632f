"""Runs each instance as a service of a Swarm with one task: the engine keeps it alive, we decide who gets users."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, HostsUnreachable, Refused
from deployer.core.events import Tell
from deployer.core.undo import undone
from deployer.drivers.ports import Found, Image
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.options import PREFIX
from deployer.drivers.runtime.environ import chosen_secrets
from deployer.drivers.runtime.identity import same
from deployer.drivers.runtime.swarm import api, options, secrets
from deployer.drivers.runtime.swarm.images import SwarmImages
from deployer.drivers.runtime.swarm.managers import NotManager
from deployer.drivers.runtime.swarm.options import Standing
from deployer.drivers.runtime.swarm.starting import await_running
from deployer.drivers.runtime.swarm.tasks import TaskContainers
from deployer.drivers.runtime.swarm.view import SwarmView
from deployer.model import Instance, InstanceSpec, Release

if TYPE_CHECKING:
    import docker

    from deployer.manifest.models import Manifest

NOT_OURS = "rename or remove it; deployer touches only what it made"


@dataclass(frozen=True)
class SwarmOwner:
    """Whose instances these are: the store, and in which state folder on which host it lies."""

    installation: str
    home: str = ""


class SwarmRuntime:
    """The runtime `swarm`. `engines` are links to nodes, `wanted` the hosts on which instances may stand.

    Without `wanted` they stand on any node. A Swarm that does not respond, or has no leader, is reported as if its
    hosts were silent: what runs serves on, and whoever can go on with what was seen does.
    """

    moves = True  # the engine starts an instance elsewhere when its node is lost

    def __init__(
        self,
        clock: Clock,
        owner: SwarmOwner,
        engines: Sequence[FleetHost],
        wanted: Sequence[str] = (),
        addresses: Mapping[str, str] | None = None,
    ) -> None:
        self._owner = owner
        self._view = SwarmView(owner.installation, engines, wanted, addresses or {})
        self._images = SwarmImages(owner.installation, engines, self._view.links)
        self._containers = TaskContainers(self._view.managers, self._view.links, clock)

    # -- images

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Pin the image once, and bring it to every node that may need it and is reached from here.

        Managers without a leader get the time to elect one. Raise Refused where there is no Swarm or no manager of it,
        no node fits, a network is missing, or a node cannot have the image.
        """
        try:
            place = self._view.elected_place(deadline, tell)
            self._check_networks(manifest)
        except HostsUnreachable:
            raise
        except DriverFailed as error:
            raise Refused(error.message, error.hint) from error
        return self._images.pin(place, reference, deadline, tell)

    def _check_networks(self, manifest: Manifest) -> None:
        if not manifest.networks:
            return
        found = self._view.ask("networks", lambda client: client.api.networks(filters={"scope": ["swarm"]}))
        known = {str(each[key]) for each in found for key in ("Name", "Id")}
        if missing := [name for name in manifest.networks if name not in known]:
            raise Refused(
                f"networks: the Swarm has no network {', '.join(missing)}",
                f"make it: docker network create --driver overlay {missing[0]}",
            )

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when no node that is reached has the image of the release."""
        self._images.check(release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop`, on the nodes that are reached, that no release in `keep` and no container has."""
        return self._images.prune(keep, drop)

    # -- instances

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all services of ours that are instances of the service, ordered by release and index."""
        seen = self._view.ours(service=service)
        found = [options.observed(each, seen.nodes) for each in seen.standing]
        ordered = tuple(sorted(found, key=lambda i: (i.release, i.index)))
        if seen.trouble:
            raise HostsUnreachable(self._view.silent(seen.trouble), ordered)
        return ordered

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the instance run as specified; one that runs already so is left alone.

        One that another hand has changed is made anew. Raise DriverFailed, with what the Swarm says, where no node
        fits, and leave nothing of it.
        """
        kept = options.kept_labels(spec, self._owner.installation, self._owner.home)
        there = self._view.find(spec.name)
        if there is not None and not self._view.is_mine(there):
            raise DriverFailed(
                f"a service named {spec.name} exists that deployer does not manage ({str(there['ID'])[:12]})", NOT_OURS
            )
        if there is not None and (not same(there["Spec"]["Labels"], kept, PREFIX) or options.drift(there)):
            self._discard(spec.name, str(there["ID"]), 0, deadline)
            there = None
        if there is None:
            self._create(spec, kept, deadline)
        try:
            await_running(
                spec,
                partial(self._view.standing, spec.name),
                lambda: self._images.keep(self._view.place(), spec.release, deadline),
                deadline,
            )
        except (DeadlinePassed, HostsUnreachable):
            raise
        except DriverFailed:
            made = self._view.find(spec.name) if there is None else None  # what ran before is left as it is
            if made is not None:
                self._discard(spec.name, str(made["ID"]), 0, deadline)
            raise
        return next(i for i in self.instances(spec.release.service) if i.name == spec.name)

    def _create(self, spec: InstanceSpec, kept: Mapping[str, str], deadline: Deadline) -> None:
        files, place = chosen_secrets(spec, "file"), self._view.place()
        image, owner = self._images.keep(place, spec.release, deadline), self._owner.installation

        def create(client: docker.DockerClient) -> None:
            if api.service(client, spec.name) is not None:
                return  # by another manager, which did it and gave no answer

            def forget() -> None:
                secrets.remove(client, secrets.of(client, owner, spec.name))

            forget()  # what a maker left who died before it made the service
            with undone(forget):
                made = secrets.make(client, owner, spec.name, files)
                api.create(client, options.create(spec, kept, image, made, place.others))

        self._view.change(f"create {spec.name}", create)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Remove the service and wait until its task is gone; after `grace` seconds its container is killed."""
        service = self._view.find(instance.name)
        if service is None or service["ID"] != instance.runtime_id:
            return
        if not self._view.is_mine(service):
            raise DriverFailed(
                f"{instance.name} is no longer managed by deployer", "look at it with `docker service inspect`"
            )
        self._discard(instance.name, instance.runtime_id, grace, deadline)

    def _discard(self, name: str, identity: str, grace: float, deadline: Deadline) -> None:
        tasks = self._view.standing(name).tasks
        self._view.change(f"remove {name}", lambda client: api.remove(client, identity))
        self._containers.await_gone(name, tasks, grace, deadline)
        owner = self._owner.installation
        self._view.change(f"secrets of {name}", lambda client: secrets.remove(client, secrets.of(client, owner, name)))

    def move(self, instance: Instance) -> bool:
        """Have a stranded instance started on another node; return False where it is not, or was changed meanwhile."""
        seen = self._view.ours(service=instance.service)
        there = next((each for each in seen.standing if each.service["ID"] == instance.runtime_id), None)
        if there is None or not options.stranded(there, seen.nodes):
            return False
        service = there.service
        update = options.moved(service)
        return self._view.change(f"move {instance.name}", lambda client: api.update(client, service, update))

    # -- inside instances

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines; empty when the instance is gone."""
        found = self._current(instance) if lines > 0 else None
        return self._containers.logs(found, lines) if found else ()

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        """Return in how many lines of the last seconds the pattern is found."""
        found = self._current(instance)
        return self._containers.count_lines(found, pattern, seconds, deadline) if found else 0

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the instance, by the engine of its node; return its exit code and what it printed."""
        found = self._current(instance)
        if found is None:
            raise DriverFailed(f"{instance.name} is gone", "see `deploy status`")
        return self._containers.run(found, command, deadline)

    def _current(self, instance: Instance) -> Standing | None:
        service = self._view.find(instance.name)
        return self._view.standing(instance.name) if service and service["ID"] == instance.runtime_id else None

    # -- what is there beside

    def list_all(self) -> tuple[Found, ...]:
        """Read every service that a deployer made, of any service and any store; none where there is no Swarm."""
        try:
            seen = self._view.read([f"{PREFIX}installation"])
        except NotManager:
            return ()
        found = [options.found_of(each, seen.nodes) for each in seen.standing if options.made(each.service)]
        return tuple(sorted(found, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the services with the name or the labels of an instance of the service that we did not make."""
        like, label = re.compile(f"{re.escape(service)}-r[0-9]+-[0-9]+"), f"{PREFIX}service"

        def looks_so(found: Mapping[str, Any]) -> bool:
            labels = found["Spec"].get("Labels") or {}
            return bool(like.fullmatch(found["Spec"]["Name"])) or labels.get(label) == service

        there = self._view.ask("services of the Swarm", api.services)
        return tuple(sorted(str(s["Spec"]["Name"]) for s in there if looks_so(s) and not self._view.is_mine(s)))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name tags of ours that no release in `keep` and no container has, and secrets whose instance is gone."""
        try:
            return (*self._images.garbage(keep), *map(secrets.name_of, self._orphans()))
        except NotManager:
            return ()

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove what `garbage` names."""
        orphans = self._orphans()
        if orphans:
            self._view.change("remove secrets", lambda client: secrets.remove(client, orphans))
        return (*self._images.collect_garbage(keep), *map(secrets.name_of, orphans))

    def _orphans(self) -> list[Mapping[str, Any]]:
        there = {standing.name for standing in self._view.ours().standing}
        own = self._view.ask("our secrets", lambda client: secrets.of(client, self._owner.installation))
        return [each for each in own if secrets.instance_of(each) not in there]

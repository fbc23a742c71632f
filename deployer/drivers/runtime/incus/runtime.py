"""Runs instances by Incus, as unprivileged containers or as virtual machines. Owns only what it made, by its keys."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.core.undo import undone
from deployer.drivers.ports import Found, Image
from deployer.drivers.runtime.identity import labels, same
from deployer.drivers.runtime.incus import options, virtual
from deployer.drivers.runtime.incus.api import Incus, at
from deployer.drivers.runtime.incus.images import IncusImages
from deployer.drivers.runtime.incus.project import IncusProject
from deployer.model import Instance, InstanceSpec, Release

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

UNDO_SECONDS = 30.0


class IncusRuntime:
    """The runtime `incus`. `installation` names the store: two of them in one project never meet.

    What it reads is in all projects, as the manifest of a former release may name another one.
    """

    moves = False

    def __init__(self, clock: Clock, installation: str, home: str = "", incus: Incus | None = None) -> None:
        self._clock, self._installation, self._home = clock, installation, home
        self._incus = incus or Incus(clock)
        self._creating = threading.Lock()

    def resolve(self, manifest: Manifest, reference: str, *_: object) -> Image:
        """Pin an image that Incus has; check what else the manifest needs of it."""
        project = self._project(manifest)
        project.check(manifest.networks)
        image, kind = project.images.resolve(reference)
        if kind == virtual.KIND:
            virtual.refuse(self._incus, manifest, reference)
        return image

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all instances of the service, whatever their state, ordered by release and index."""
        seen = (options.observed(each) for each in self._all() if self._mine(each))
        return tuple(sorted((i for i in seen if i.service == service), key=lambda i: (i.release, i.index)))

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the instance run as specified; one that runs already so is left alone."""
        project, name = self._project(spec.release.manifest), spec.name
        there = project.read(name)
        if there is not None and not self._mine(there):
            raise DriverFailed(
                f"an instance named {name} exists in Incus that deployer does not manage",
                "rename or remove it; deployer touches only what it made",
            )
        marks = labels(spec, self._installation, self._home, options.PREFIX)
        if there is not None and options.begun(there) and same(there["config"], marks, options.PREFIX):
            project.start(spec, there, deadline)
        else:
            kind = project.images.kind(spec.release)
            wanted = options.create(spec, self._installation, self._home, kind)
            project.delete(name, deadline)
            with undone(lambda: project.delete(name, Deadline.after(self._clock, UNDO_SECONDS))):
                with self._turn(spec, deadline):
                    project.create(spec, wanted, deadline)
                project.start(spec, {**wanted, "status": "Stopped"}, deadline)
        made = project.read(name)
        if made is None:
            raise DriverFailed(f"{name} was started, and Incus does not have it", "is another program removing it?")
        return options.observed(made)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Ask the instance to shut down, wait up to `grace` seconds, kill, remove it."""
        there = self._found(instance)
        if there is None:
            return
        if not self._mine(there):
            raise DriverFailed(f"{instance.name} is no longer managed by deployer", "look at it: `incus config show`")
        project, seconds = self._in(there["project"]), min(grace, deadline.left())
        if there["status"] in options.RUNNING and seconds >= 1:
            project.stop(instance.name, seconds)
        project.delete(instance.name, deadline)

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that its programs wrote to the console."""
        there = self._found(instance)
        if lines <= 0 or there is None:
            return ()
        path = at("instances", instance.name, "console")
        text = self._incus.of(there["project"]).text(f"console of {instance.name}", path)
        return tuple(line.rstrip("\r") for line in text.splitlines()[-lines:])

    def count_lines(self, instance: Instance, *_: object) -> int:
        """Raise DriverFailed: the console says of no line when it was written."""
        raise DriverFailed(f"{instance.name}: runtime incus cannot count lines of its log", "choose another metric")

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the instance; return its exit code and what it printed."""
        from deployer.drivers.runtime.incus import commands

        there = self._found(instance)
        if there is None:
            raise DriverFailed(f"{instance.name} does not exist", "see `deploy status`")
        return commands.run(self._incus.of(there["project"]), instance.name, command, deadline)

    def check_release(self, release: Release) -> None:
        """Raise ImageGone where Incus does not have the image of the release any more."""
        self._project(release.manifest).images.kind(release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no instance uses; return what was removed."""
        used = _used(self._all())
        shelves = {(p := self._project(release.manifest)).incus.project: p.images for release in drop}
        return tuple(a for shelf in shelves.values() for a in shelf.remove(shelf.dropped(drop, keep, used)))

    def list_all(self) -> tuple[Found, ...]:
        """Read every instance that a deployer made, of any service and any store."""
        seen = [options.found(each) for each in self._all() if options.made(each)]
        return tuple(sorted(seen, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the instances with the name or the keys of one of the service that we did not make."""
        like = re.compile(f"{re.escape(service)}-r[0-9]+-[0-9]+")
        return tuple(
            sorted(
                each["name"]
                for each in self._all()
                if not self._mine(each)
                and (like.fullmatch(each["name"]) or each["config"].get(f"{options.PREFIX}service") == service)
            )
        )

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the aliases of ours on images that no release in `keep` and no instance has."""
        return tuple(alias for _, aliases in self._unneeded(keep) for alias in aliases)

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Take these aliases away, and with the last one of an image the image."""
        return tuple(alias for shelf, aliases in self._unneeded(keep) for alias in shelf.remove(aliases))

    # -- what Incus has

    def _project(self, manifest: Manifest) -> IncusProject:
        """Return the project that a manifest names, else that of the environment."""
        return self._in(manifest.incus.project if manifest.incus is not None else self._incus.project)

    def _in(self, project: str) -> IncusProject:
        return IncusProject(self._incus.of(project), self._clock, self._installation)

    @contextmanager
    def _turn(self, spec: InstanceSpec, deadline: Deadline) -> Iterator[None]:
        """Make one after the other where limits hold: of two at once Incus counts neither, and lets both pass."""
        if spec.release.manifest.incus is None:
            yield
            return
        if not self._creating.acquire(timeout=deadline.left()):
            raise DeadlinePassed(f"create {spec.name}: others were made for {deadline.seconds:g} s")
        try:
            yield
        finally:
            self._creating.release()

    def _all(self) -> list[dict[str, Any]]:
        path = f"{at('instances')}?recursion=1&all-projects=true"
        return self._incus.of("").get("instances of Incus", path) or []

    def _found(self, instance: Instance) -> dict[str, Any] | None:
        same_one = (each for each in self._all() if each["name"] == instance.name)
        return next((each for each in same_one if each["config"].get("volatile.uuid") == instance.runtime_id), None)

    def _mine(self, attributes: Mapping[str, Any]) -> bool:
        owner = attributes["config"].get(f"{options.PREFIX}installation")
        return owner == self._installation and options.made(attributes)

    def _unneeded(self, keep: Sequence[Release]) -> Iterator[tuple[IncusImages, tuple[str, ...]]]:
        """Return, for each project that has images of its own, the aliases that nothing needs."""
        used = _used(self._all())
        for each in self._incus.of("").get("projects of Incus", f"{at('projects')}?recursion=1") or []:
            if each["config"].get("features.images") == "true":
                shelf = self._in(each["name"]).images
                yield shelf, shelf.unneeded(keep, used)


def _used(instances: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the images of which instances are made."""
    return {each["config"].get(f"{options.PREFIX}image", "") for each in instances}

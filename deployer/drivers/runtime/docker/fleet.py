"""Runs instances as containers on many hosts: one engine each, asked at the same time, up to a limit."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from deployer.core.clock import Deadline
from deployer.core.errors import ImageGone, Refused
from deployer.core.events import Tell
from deployer.drivers.ports import Found, Image
from deployer.drivers.runtime.docker.fleet_guests import FleetGuests
from deployer.drivers.runtime.docker.fleet_host import FleetHost, answers
from deployer.drivers.runtime.docker.fleet_jobs import FleetJobs
from deployer.drivers.runtime.docker.image_distribution import ImageDistribution
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from deployer.drivers.runtime.hosts import host_of
from deployer.model import Instance, InstanceSpec, Release
from deployer.planning.steps import named

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

T = TypeVar("T")


class DockerFleet:
    """The runtime `docker` on hosts of an inventory; each instance is on its `host`.

    What asks all of them raises HostsUnreachable if one gives no answer, with what the others said. `wanted` are those
    on which a release is to stand: they get its image.
    """

    moves = False

    def __init__(self, members: Sequence[FleetHost], wanted: Collection[str], control: FleetHost | None = None) -> None:
        self.members = tuple(members)
        self._members = {member.name: member for member in members}
        self._wanted = {member.name: member for member in members if member.name in wanted}
        self._supply = ImageDistribution(control)

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Pin the image once, and bring it to every host that is to have it and does not.

        As many as `max_unavailable` covers may be silent: whether the release goes without them is decided by who
        observes all of them next, and one that is back by then gets the image with its first instance.
        """
        groups = 2 if manifest.twin else 1
        least = max(1, len(self._wanted) - manifest.max_unavailable * groups)
        here = answers(self._wanted, lambda member: _ready(member, manifest), least)
        image = self._supply.pin(self._wanted[next(iter(here))], reference, deadline, tell)
        asked = {name: self._wanted[name] for name in here}
        missing = answers(asked, lambda member: self._supply.is_missing(member, image), least)
        lacking = {name: self._wanted[name] for name, is_missing in missing.items() if is_missing}
        if lacking:
            tell("note", text=f"bringing {reference} to {named(tuple(lacking))}")
            having = len(missing) - len(lacking)
            answers(lacking, lambda member: self._supply.bring(member, image, deadline), least - having)
        return image

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all containers of the service on all hosts, ordered by release and index."""
        found = self._all(lambda member: _standing(member, service))
        return tuple(sorted(found, key=lambda i: (i.release, i.index, i.host)))

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the container run as specified on the host of its specification.

        A host that has lost the image of the release, or was rewritten since, gets it from one that has it.
        """
        member = self._member(spec.host)
        try:
            made = member.do(lambda runtime: runtime.ensure(spec, deadline))
        except ImageGone as gone:
            if not self._restore(member, spec.release, deadline):
                raise gone
            made = member.do(lambda runtime: runtime.ensure(spec, deadline))
        return replace(made, host=spec.host)

    def _restore(self, member: FleetHost, release: Release, deadline: Deadline) -> bool:
        """Bring the image of a release to a host that has lost it; return whether another host had it."""
        return self._supply.restore(member, release, self.members, deadline)

    @property
    def guests(self) -> FleetGuests:
        """Guests on these hosts."""
        return FleetGuests(self._wanted, self._members)

    @property
    def jobs(self) -> FleetJobs:
        """Runs of jobs on these hosts."""
        return FleetJobs(self._members, self._restore)

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Signal the container, wait up to `grace` seconds, kill, remove."""
        self._member(instance.host).do(lambda runtime: runtime.remove(instance, grace, deadline))

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline) -> int:
        """Return in how many lines of the last seconds the pattern is found."""
        count = self._member(instance.host).read
        return count(lambda runtime: runtime.count_lines(instance, pattern, seconds, deadline))

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that the container wrote."""
        return self._member(instance.host).read(lambda runtime: runtime.logs(instance, lines))

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the container; return its exit code and what it printed."""
        return self._member(instance.host).do(lambda runtime: runtime.run(instance, command, deadline))

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when no host has the image of the release: one that lacks it gets it from another."""
        refuse_lost(self._members, release)

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no container of that host uses."""
        return self._all(lambda member: _on(member, member.read(lambda runtime: runtime.prune(keep, drop))))

    def list_all(self) -> tuple[Found, ...]:
        """Read every container that a deployer made, on all hosts."""
        found = self._all(_counted)
        return tuple(sorted(found, key=lambda f: (f.instance.service, f.instance.release, f.instance.index)))

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name the containers that are called as an instance of the service is, and are not ours."""
        return self._all(lambda member: _on(member, member.read(lambda runtime: runtime.foreign(service))))

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the tags of ours on images that no release in `keep` and no container has."""
        return self._all(lambda member: _on(member, member.read(lambda runtime: runtime.garbage(keep))))

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Take these tags away, and with the last one of an image the image."""
        return self._all(lambda member: _on(member, member.read(lambda runtime: runtime.collect_garbage(keep))))

    def deadly(self) -> tuple[str, ...]:
        """Name the hosts whose containers end with their engine."""
        return self._all(lambda member: () if member.read(DockerRuntime.lets_live) else (member.name,))

    def _member(self, host: str) -> FleetHost:
        return host_of(self._members, host)

    def _all(self, work: Callable[[FleetHost], tuple[T, ...]]) -> tuple[T, ...]:
        return tuple(found for part in answers(self._members, work).values() for found in part)


def refuse_lost(members: Mapping[str, FleetHost], release: Release) -> None:
    """Raise ImageGone when none of the hosts that answer has the image of a release."""

    def lacks(member: FleetHost) -> ImageGone | None:
        try:
            member.read(lambda runtime: runtime.check_release(release))
        except ImageGone as gone:
            return gone
        return None

    found = answers(members, lacks, least=0)
    if found and all(found.values()):
        raise next(gone for gone in found.values() if gone)


def _ready(member: FleetHost, manifest: Manifest) -> None:
    """Raise HostsUnreachable, or Refused when the host lacks what the manifest names."""

    def look(runtime: DockerRuntime) -> None:
        member.engine.ping()
        runtime.check_networks(manifest)

    try:
        member.read(look)
    except Refused as error:
        raise Refused(f"{member.name or 'this host'}: {error.message}", error.hint) from error


def _standing(member: FleetHost, service: str) -> tuple[Instance, ...]:
    return tuple(replace(i, host=member.name) for i in member.read(lambda runtime: runtime.instances(service)))


def _counted(member: FleetHost) -> tuple[Found, ...]:
    found = member.read(DockerRuntime.list_all)
    return tuple(replace(f, instance=replace(f.instance, host=member.name)) for f in found)


def _on(member: FleetHost, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{name} on {member.name}" if member.name else name for name in names)

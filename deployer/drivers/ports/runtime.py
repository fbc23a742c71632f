"""What runs the instances of services."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.core.errors import HostsUnreachable
from deployer.core.events import Tell
from deployer.model import Instance, InstanceSpec, Release

if TYPE_CHECKING:
    from deployer.drivers.ports.images import Image
    from deployer.manifest.models import Manifest


@dataclass(frozen=True)
class Found:
    """An instance that a deployer made, this one or another: whose it is, and what it carries of its release.

    `installation` names the store that it belongs to, `home` the host and the state folder in which that store lay;
    `record` is what `deployer.planning.release_record` reads, empty where there is none.
    """

    instance: Instance
    installation: str
    home: str = ""
    record: str = ""


class Runtime(Protocol):
    """Runs instances. Owns only what it made, by name and record; never touches anything else.

    One that runs them on many hosts raises HostsUnreachable, a DriverFailed, when one of them gives no answer; what
    reads all of them gives with it what the others said.
    """

    @property
    def moves(self) -> bool:
        """Whether an instance that was started may be found at another address later, on another host."""
        ...

    def resolve(self, manifest: Manifest, reference: str, deadline: Deadline, tell: Tell, /) -> Image:
        """Fetch the image if it is not here and pin it. Raises Refused when it cannot be had."""
        ...

    def instances(self, service: str) -> tuple[Instance, ...]:
        """Read all instances of the service, whatever their state, ordered by release and index."""
        ...

    def ensure(self, spec: InstanceSpec, deadline: Deadline) -> Instance:
        """Make the instance run as specified; one that runs already so is left alone."""
        ...

    def remove(self, instance: Instance, grace: float, deadline: Deadline) -> None:
        """Signal the instance, wait up to `grace` seconds, kill, remove. One that is gone is no error."""
        ...

    def logs(self, instance: Instance, lines: int) -> tuple[str, ...]:
        """Return the last lines that the instance wrote; empty when there is nothing to read."""
        ...

    def count_lines(self, instance: Instance, pattern: re.Pattern[str], seconds: float, deadline: Deadline, /) -> int:
        """Return in how many lines that the instance wrote in the last seconds the pattern is found."""
        ...

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        """Run a command in the instance; return its exit code and what it printed."""
        ...

    def check_release(self, release: Release) -> None:
        """Raise ImageGone when what instances of the release are made of, its image or files, is not there any more."""
        ...

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove images of `drop` that no release in `keep` and no instance uses; return what was removed."""
        ...


class RuntimeCare(Runtime, Protocol):
    """A runtime, and what only `deploy doctor` and `deploy adopt` ask of it: what is there beside what is known."""

    def list_all(self) -> tuple[Found, ...]:
        """Read every instance there is that a deployer made, of any service and any store."""
        ...

    def foreign(self, service: str) -> tuple[str, ...]:
        """Name what has the name or the marks of an instance of the service, and was not made by us: never touched."""
        ...

    def garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name what is ours and that no release in `keep` and no instance has: images, snapshots, half-made things."""
        ...

    def collect_garbage(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Remove what `garbage` names; return what was removed."""
        ...


@dataclass(frozen=True)
class Running:
    """What stands of a service as far as it was seen; `silent` are the hosts that gave no answer, and why."""

    instances: tuple[Instance, ...]
    silent: Mapping[str, str]


def standing(runtime: Runtime, service: str) -> Running:
    """Read what stands of a service, but on hosts that are silent. Raises DriverFailed for all other trouble."""
    try:
        return Running(runtime.instances(service), {})
    except HostsUnreachable as error:
        return Running(error.seen, error.silent)

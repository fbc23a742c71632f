"""Bringing an image to hosts: pulled there by its digest where a registry has it, else copied over from here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from threading import BoundedSemaphore

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, HostsUnreachable, Refused, StepFailed
from deployer.core.events import Tell
from deployer.drivers.ports import Image
from deployer.drivers.runtime.docker import images
from deployer.drivers.runtime.docker.engine import Engine, find_image
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.model import Release

COPIES = 4  # of one image at the same time: each is read from the engine once more
CHUNK = 1024 * 1024


class ImageDistribution:
    """Where images come from: the engine of this host, if one answers, or the first host that has it."""

    def __init__(self, control: FleetHost | None) -> None:
        self._control = control
        self._source: FleetHost | None = None
        self._copying = BoundedSemaphore(COPIES)

    def pin(self, other: FleetHost, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Pin a reference, on this host or on another one; raises Refused when neither has it or can pull it."""
        refused: Refused | None = None
        if self._control is not None:
            try:
                self._source = self._control
                return _pinned(self._control, reference, deadline, tell)
            except HostsUnreachable:
                refused = None  # there need not be an engine here
            except Refused as error:
                refused = error
        self._source = other
        try:
            return _pinned(other, reference, deadline, tell)
        except Refused as error:
            raise (refused or error) from None

    def is_missing(self, member: FleetHost, image: Image) -> bool:
        """Return whether a host does not have the image."""
        if member is self._source:
            return False
        return member.read(lambda _runtime: not _has(member.engine, image))

    def bring(self, member: FleetHost, image: Image, deadline: Deadline) -> None:
        """Let a host have the image: pulled by it, else copied to it. Raises DriverFailed when it then has not."""
        self._bring(self._source, member, image, deadline)

    def lend(self, member: FleetHost, identity: str, deadline: Deadline) -> None:
        """Let a host have an image that the engine of this one has. Raise DriverFailed when it then has not."""
        self._source, image = self._control, Image(identity, identity)
        if self._control is not member and self.is_missing(member, image):
            self.bring(member, image, deadline)

    def restore(self, member: FleetHost, release: Release, others: Sequence[FleetHost], deadline: Deadline) -> bool:
        """Let a host have the image of an earlier release; return whether any other one has it."""
        for other in (*([self._control] if self._control else []), *others):
            if other is member:
                continue
            image = _known(other, release)
            if image is not None:
                self._bring(other, member, image, deadline)
                return True
        return False

    def _bring(self, source: FleetHost | None, member: FleetHost, image: Image, deadline: Deadline) -> None:
        why = member.do(lambda _runtime: _pull(member.engine, image, deadline))
        if why:
            with self._copying:
                member.do(lambda _runtime: _copy(source, member, image, deadline))
        if not member.read(lambda _runtime: _has(member.engine, image)):
            raise DriverFailed(
                f"{member.name} has {image.reference}, but not as {image.id}",
                "engines that store images in different ways (containerd or not) name them differently: use one way",
            )


def _known(member: FleetHost, release: Release) -> Image | None:
    try:
        return member.read(lambda _runtime: images.of_release(member.engine, release))
    except HostsUnreachable:
        return None


def _copy(source: FleetHost | None, member: FleetHost, image: Image, deadline: Deadline) -> None:
    if source is None:
        raise DriverFailed(f"there is no engine to copy {image.reference} from")
    with (
        source.engine.client(f"save {image.reference}") as giver,
        member.engine.client(f"copy {image.reference} to {member.name}", deadline.left()) as taker,
    ):
        chunks = giver.api.get_image(image.id, chunk_size=CHUNK)
        given = deadline.over(chunks, f"copy {image.reference}")
        loaded: Iterator[dict[str, str]] = taker.api.load_image(given)  # type: ignore[no-untyped-call]
        for line in deadline.over(loaded or (), f"copy {image.reference} to {member.name}"):
            if "error" in line:
                raise DriverFailed(f"{member.name} does not take {image.reference}: {line['error']}")


def _pinned(member: FleetHost, reference: str, deadline: Deadline, tell: Tell) -> Image:
    return member.do(lambda _runtime: images.resolve(member.engine, reference, deadline, tell))


def _has(engine: Engine, image: Image) -> bool:
    with engine.client(f"image {image.reference}") as client:
        return find_image(client, image.id) is not None


def _pull(engine: Engine, image: Image, deadline: Deadline) -> str:
    """Pull the image by its digest on a host; return why that did not bring it."""
    why = "no registry has it"
    for name in image.names:
        try:
            images.pull(engine, name, deadline)
        except StepFailed as error:
            why = error.message
            continue
        if _has(engine, image):
            return ""
        why = f"{name} is another image there"
    return why

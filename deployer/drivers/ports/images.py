"""What an image is, and who builds it and proves who signed it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.core.events import Tell
from deployer.model import SecretText, Signature

if TYPE_CHECKING:
    from deployer.manifest.build import Build
    from deployer.manifest.models import Manifest

PIN = "@sha256:"  # between what is named and its digest


@dataclass(frozen=True)
class Image:
    """What an image reference means now: an immutable id, and how registries name the same content (NAME@DIGEST)."""

    reference: str
    id: str
    names: tuple[str, ...] = ()


class Builder(Protocol):
    """Builds images."""

    def build(
        self,
        build: Build,
        tag: str,
        secrets: Mapping[str, SecretText],
        deadline: Deadline,
        tell: Tell,
        stopped: Callable[[], bool],
    ) -> str:
        """Build the image and name it `tag`; return its id. Of a build that failed, nothing but its cache is left.

        Raise Refused where something is missing to build with, DriverFailed with the last lines of a failed build, and
        Aborted once `stopped` says so.
        """
        ...


class Signatures(Protocol):
    """Proves who signed an image."""

    def prove(self, manifest: Manifest, image: Image, known: Sequence[Signature], deadline: Deadline) -> Signature:
        """Return a signature of the image by a key of the manifest, one of the `known` ones of this image if it is.

        Raises Refused, with what was checked, when there is none or it cannot be proven within the deadline.
        """
        ...


@dataclass(frozen=True)
class SavedLayer:
    """A layer of a saved image, as plain tar; `read` gives its bytes."""

    digest: str
    size: int
    read: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class SavedImage:
    """An image as an engine saved it: its configuration, whose digest is its id, and its layers from the lowest up."""

    config: bytes
    layers: tuple[SavedLayer, ...]


class ImageFiles(Protocol):
    """Brings images out of an engine and into one, without a registry."""

    def pin(self, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Fetch the image if it is not here and pin it. Raise Refused when it cannot be had."""
        ...

    def save(self, image: Image, scratch: Path, deadline: Deadline) -> AbstractContextManager[SavedImage]:
        """Save an image, with a copy in the folder `scratch` for as long as it is open."""
        ...

    def platform(self) -> str:
        """Return what the engine runs: linux/amd64."""
        ...

    def has(self, identity: str) -> bool:
        """Return whether the engine has the image of this id."""
        ...

    def present(self, layers: Sequence[str]) -> int:
        """Return how many of these layers, from the lowest up, some image of the engine has."""
        ...

    def load(self, image: SavedImage, service: str, deadline: Deadline) -> str:
        """Load an image and keep it for the service; return its id. Layers without a size must be present.

        What `read` raises while the image is sent is raised, and nothing of the image is left. Raise Refused, too, when
        the engine does not take it.
        """
        ...

    def keep(self, identity: str, service: str) -> None:
        """Keep an image that is here for the service, until its releases are gone."""
        ...

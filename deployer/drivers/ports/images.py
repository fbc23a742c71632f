"""What an image is, and who builds it and proves who signed it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployer.core.clock import Deadline
from deployer.core.events import Tell
from deployer.model import SecretText, Signature

if TYPE_CHECKING:
    from deployer.manifest.build import Build
    from deployer.manifest.models import Manifest


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
        """Give a signature of the image by a key of the manifest, one of the `known` ones of this image if it is.

        Raises Refused, with what was checked, when there is none or it cannot be proven within the deadline.
        """
        ...

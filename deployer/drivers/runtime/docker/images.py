"""Images: what a reference means now, and keeping exactly those that a rollback may need."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, ImageGone, Refused, StepFailed
from deployer.core.events import Tell
from deployer.core.retrying import retry
from deployer.drivers.ports import Image
from deployer.drivers.runtime.docker.engine import CALL, Engine, find_image, in_use
from deployer.model import Release

if TYPE_CHECKING:
    import docker
    from docker.models.images import Image as DockerImage

PULLS = 3  # attempts, where the registry fails in a way that may pass
PULL_PAUSES = (1.0, 2.0)  # seconds between them
# An engine passes everything on as its own status 500 and only the words of the registry differ: 5xx and broken
# connections may pass, unlike a name that is not there, credentials that are refused, or a host that is not reached.
MAY_PASS = re.compile(
    r"unexpected (HTTP )?status.*\b5\d\d\b|\bHTTP 5\d\d\b|\bEOF\b|connection reset|broken pipe|TLS handshake timeout"
)


def resolve(engine: Engine, reference: str, deadline: Deadline, tell: Tell) -> Image:
    """Pin a reference to an image id, pulling it where that makes sense.

    A tag of a registry is always asked for again, as it may have moved; if the registry does not respond, what is here
    is used and that is told. A digest, and a name without a registry that is here, are taken as they are.
    """
    here = _local(engine, reference, deadline)
    if here is not None and not (_has_registry(reference) and "@" not in reference):
        return here
    if reference.startswith("sha256:"):
        raise Refused(f"the engine has no image {reference}", "an id names only what is here: load or pull it first")
    try:
        tell("note", text=f"pulling {reference}")
        pull(engine, reference, deadline)
    except StepFailed as error:
        if here is None:
            raise Refused(f"image {reference} is not here and cannot be pulled: {error.message}", _advice()) from error
        tell("note", text=f"{reference} could not be pulled ({error.message}); using the one that is here")
        return here
    pulled = _local(engine, reference, deadline)
    if pulled is None:
        raise Refused(f"image {reference} was pulled but is not here", "is another program pruning images?")
    return pulled


def _advice() -> str:
    return "check the name and `version:`, log in with `docker login`, or make it here with `docker build -t` or `load`"


def _has_registry(reference: str) -> bool:
    first, slash, _ = reference.partition("/")
    return bool(slash) and (any(mark in first for mark in ".:") or first == "localhost")


def _local(engine: Engine, reference: str, deadline: Deadline) -> Image | None:
    with engine.client(f"image {reference}", min(CALL, deadline.left())) as client:
        image = find_image(client, reference)
        if image is None or image.id is None:
            return None
        return Image(reference, image.id, names(reference, image.attrs.get("RepoDigests") or ()))


def of_release(engine: Engine, release: Release) -> Image | None:
    """Return the image of a release as this engine has it; None when it does not."""
    with engine.client(f"image of {release.service} {release.name}") as client:
        found = find_image(client, release.image_id)
        if found is None:
            return None
        return Image(release.image, release.image_id, names(release.image, found.attrs.get("RepoDigests") or ()))


def names(reference: str, digests: Sequence[str]) -> tuple[str, ...]:
    """Return those of the engine's NAME@DIGEST of an image that are of the repository of the reference.

    The engine checked at the pull that they mean this image; a reference with a digest means itself only.
    """
    wanted = reference if "@" in reference else ""
    repository = _repository(reference)
    found = [name for name in digests if _repository(name) == repository]
    return tuple(name for name in found if not wanted or name.rpartition("@")[2] == wanted.rpartition("@")[2])


def _repository(reference: str) -> str:
    """Return the repository of a reference, as the engine writes those of Docker Hub: without host and `library`."""
    name = reference.partition("@")[0]
    host, slash, rest = name.rpartition("/")
    name = f"{host}{slash}{rest.partition(':')[0]}"
    for prefix in ("index.docker.io/", "docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/")


def pull(engine: Engine, reference: str, deadline: Deadline) -> None:
    """Pull, again where the registry failed for a moment, with the credentials that `docker login` left here.

    The SDK finds those in the Docker config.
    """
    retry(lambda: _pull(engine, reference, deadline), deadline, _may_pass, pauses=PULL_PAUSES, attempts=PULLS)


def _pull(engine: Engine, reference: str, deadline: Deadline) -> None:
    with engine.client(f"pull {reference}", deadline.left()) as client:
        for line in deadline.over(client.api.pull(reference, stream=True, decode=True), f"pull {reference}"):
            if "error" in line:
                raise DriverFailed(str(line["error"]))


def look_up(engine: Engine, name: str, deadline: Deadline) -> None:
    """Ask the registry of a NAME@DIGEST for it, as `pull` would. Raise StepFailed where it does not give it."""

    def ask() -> None:
        with engine.client(f"look up {name}", min(CALL, deadline.left())) as client:
            client.api.inspect_distribution(name)  # type: ignore[no-untyped-call]

    retry(ask, deadline, _may_pass, pauses=PULL_PAUSES, attempts=PULLS)


def _may_pass(error: Exception) -> bool:
    return isinstance(error, DriverFailed) and MAY_PASS.search(error.message) is not None


class Shelf:
    """The images of our releases, kept by a tag of ours.

    A tag keeps an image from `docker image prune`, also when its own tag has moved to a newer one. `docker image prune
    --all` takes every image without a container, and nothing but a container can keep it from that.
    """

    def __init__(self, engine: Engine, installation: str) -> None:
        self._engine = engine
        # Hashed, as an installation may be named in ways that an image may not.
        self._owner = f"deployer-{hashlib.sha256(installation.encode()).hexdigest()[:12]}"

    def keep(self, client: docker.DockerClient, release: Release) -> None:
        """Tag the image of a release. Raises ImageGone when the engine does not have it any more."""
        repository, tag = self._name(release)
        self.image(client, release).tag(repository, tag)

    def tag(self, service: str, identity: str) -> str:
        """Return the tag of ours for an image of a service."""
        return f"{self._owner}/{service}:{identity.removeprefix('sha256:')[:12]}"

    @staticmethod
    def image(client: docker.DockerClient, release: Release) -> DockerImage:
        """Return the image of a release. Raises ImageGone when the engine does not have it any more."""
        image = find_image(client, release.image_id)
        if image is None:
            raise ImageGone(
                f"the image of {release.service} {release.name} is gone from the engine: {release.image_id}",
                f"bring {release.image} back with exactly this id, or deploy another release",
            )
        return image

    def prune(self, keep: Sequence[Release], drop: Sequence[Release]) -> tuple[str, ...]:
        """Remove the images of `drop` that are needed neither by `keep` nor by any container of the engine."""
        needed = {release.image_id for release in keep}
        candidates = {release.image_id: release for release in drop if release.image_id not in needed}
        removed: list[str] = []
        with self._engine.client("prune images", CALL) as client:
            used = {c.attrs["ImageID"] for c in client.containers.list(all=True, sparse=True)}
            for identity, release in candidates.items():
                if identity not in used:
                    removed += self._remove(client, release)
        return tuple(removed)

    def unneeded(self, keep: Sequence[Release]) -> tuple[str, ...]:
        """Name the tags of ours on images that no release in `keep` and no container has."""
        needed = {release.image_id for release in keep}
        with self._engine.client("our images", CALL) as client:
            needed |= {c.attrs["ImageID"] for c in client.containers.list(all=True, sparse=True)}
            images = [i for i in client.images.list(filters={"reference": f"{self._owner}/*"}) if i.id not in needed]
        return tuple(sorted(tag for image in images for tag in image.tags if tag.startswith(f"{self._owner}/")))

    def untag(self, names: Sequence[str]) -> tuple[str, ...]:
        """Take tags of ours away, and with the last one of an image the image; return those that were taken."""
        removed = []
        for name in names:
            try:
                with self._engine.client(f"remove image {name}") as client:
                    client.images.remove(name)
                removed.append(name)
            except DriverFailed as error:
                if not in_use(error):  # else a container was made of it just now
                    raise
        return tuple(removed)

    def _remove(self, client: docker.DockerClient, release: Release) -> list[str]:
        """Remove our tag, and the one it was pulled or built by; what a person built or tagged stays."""
        repository, tag = self._name(release)
        ours = find_image(client, f"{repository}:{tag}")
        if ours is None:
            return []
        names = [f"{repository}:{tag}"]
        pulled = find_image(client, release.image)
        made = release.manifest.build is not None or bool(ours.attrs.get("RepoDigests"))
        if pulled is not None and pulled.id == ours.id and made:
            names.append(release.image)
        for name in names:
            try:
                with self._engine.client(f"remove image {name}") as remover:
                    remover.images.remove(name)
            except (DriverFailed, DeadlinePassed) as error:
                if in_use(error):  # a container was made of it just now
                    return []
                raise
        return names

    def _name(self, release: Release) -> tuple[str, str]:
        repository, _, tag = self.tag(release.service, release.image_id).rpartition(":")
        return repository, tag

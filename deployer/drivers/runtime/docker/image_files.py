"""Images as files: saved by one Docker engine, loaded by another, without a registry between them."""

from __future__ import annotations

import gzip
import hashlib
import json
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from deployer.bundle import tape
from deployer.bundle.contents import blob_name, canonical, digest_of
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused
from deployer.core.events import Tell
from deployer.drivers.ports.images import Image, SavedImage, SavedLayer
from deployer.drivers.runtime.docker import images
from deployer.drivers.runtime.docker.engine import Engine, find_image
from deployer.drivers.runtime.docker.room import refuse_full, told_full

CHUNK = 1024 * 1024
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"


class DockerImages:
    """Saves and loads images of the engine of this host; what it loads is kept for `installation`."""

    def __init__(self, installation: str, engine: Engine | None = None) -> None:
        self._engine = engine or Engine()
        self._shelf = images.Shelf(self._engine, installation)

    def pin(self, reference: str, deadline: Deadline, tell: Tell) -> Image:
        """Fetch the image if it is not here and pin it."""
        self._engine.require()
        return images.resolve(self._engine, reference, deadline, tell)

    @contextmanager
    def save(self, image: Image, scratch: Path, deadline: Deadline) -> Iterator[SavedImage]:
        """Save an image into a file that has no name, and read it from there."""
        with ExitStack() as opened:
            try:
                file = opened.enter_context(tempfile.TemporaryFile(dir=scratch))
            except OSError as error:
                raise _full(scratch, error) from error
            with self._engine.client(f"save {image.reference}", deadline.left()) as client:
                for chunk in deadline.over(client.api.get_image(image.id, chunk_size=CHUNK), f"save {image.reference}"):
                    _write(file, chunk, scratch)
            file.seek(0)
            try:
                saved = _saved(opened.enter_context(tarfile.open(fileobj=file)))
            except (tarfile.TarError, KeyError, ValueError, TypeError, IndexError) as error:
                what = f"what the engine at {self._engine.address} saved of {image.reference} cannot be read"
                raise DriverFailed(f"{what}: {error!r}") from error
            yield saved

    def platform(self) -> str:
        """Return what the engine runs."""
        self._engine.require()
        with self._engine.client("version of the engine") as client:
            said = client.version()
        return f"{said['Os']}/{said['Arch']}"

    def has(self, identity: str) -> bool:
        """Return whether the engine has the image of this id."""
        with self._engine.client(f"image {identity[:19]}") as client:
            return find_image(client, identity) is not None

    def present(self, layers: Sequence[str]) -> int:
        """Return how many of these layers, from the lowest up, some image of the engine has."""
        most = 0
        with self._engine.client("layers of the images") as client:
            for listed in client.api.images():
                if (known := find_image(client, str(listed["Id"]))) is not None:
                    most = max(most, _alike(layers, (known.attrs.get("RootFS") or {}).get("Layers") or ()))
        return most

    def load(self, image: SavedImage, service: str, deadline: Deadline) -> str:
        """Send the image as `docker load` reads it, under a tag of ours, and see that it arrived as itself."""
        wanted = digest_of(image.config)
        tag = self._shelf.tag(service, wanted)
        size = sum({layer.digest: layer.size for layer in image.layers}.values())
        refuse_full(self._engine, f"the image {wanted[:19]}", size)
        try:
            with self._engine.client(f"load {wanted[:19]}", deadline.left()) as client:
                sent = (chunk for chunk in _archive(image, tag) if chunk)
                said: Iterator[dict[str, Any]] = client.api.load_image(sent)  # type: ignore[no-untyped-call]
                for line in deadline.over(said or (), f"load {wanted[:19]}"):
                    if "error" in line:
                        raise DriverFailed(str(line["error"]))
                found = find_image(client, tag)
        except DriverFailed as error:
            why, hint = told_full(self._engine, error.message)
            raise Refused(f"the engine does not take the image of {size:,} bytes: {why}", hint) from error
        if found is None or found.id is None or (found.id != wanted and not _renamed(found.attrs)):
            raise Refused(f"the engine took the image {wanted[:19]}, but does not have it", "see its log")
        return str(found.id)

    def keep(self, identity: str, service: str) -> None:
        """Keep an image that is here for the service, until its releases are gone."""
        with self._engine.client(f"image {identity[:19]}") as client:
            found = find_image(client, identity)
            if found is not None:
                found.tag(*self._shelf.tag(service, identity).rsplit(":", 1))


def _renamed(attributes: dict[str, Any]) -> bool:
    """Return whether the engine names images by their manifest, not by their configuration (containerd's store)."""
    return bool(attributes.get("Descriptor"))


def _write(file: IO[bytes], chunk: bytes, scratch: Path) -> None:
    try:
        file.write(chunk)
    except OSError as error:
        raise _full(scratch, error) from error


def _full(scratch: Path, error: OSError) -> Refused:
    return Refused(f"the image cannot be saved in {scratch}: {error.strerror}", "it takes twice its size: see `df`")


def _alike(layers: Sequence[str], others: Sequence[str]) -> int:
    count = 0
    for mine, other in zip(layers, others, strict=False):
        if mine != other:
            break
        count += 1
    return count


def _saved(archive: tarfile.TarFile) -> SavedImage:
    """Read what `docker save` wrote of one image, in its old form or as an image layout."""
    listed = json.loads(_content(archive, "manifest.json").read())[0]
    config = _content(archive, listed["Config"]).read()
    return SavedImage(config, tuple(_layer(archive, name) for name in listed["Layers"]))


def _layer(archive: tarfile.TarFile, name: str) -> SavedLayer:
    total, size = hashlib.sha256(), 0
    for chunk in _plain(archive, name):
        total.update(chunk)
        size += len(chunk)
    return SavedLayer(f"sha256:{total.hexdigest()}", size, lambda: _plain(archive, name))


def _plain(archive: tarfile.TarFile, name: str) -> Iterable[bytes]:
    """Read a layer as plain tar, however the engine keeps it."""
    file = _content(archive, name)
    first = file.read(4)
    file.seek(0)
    if first == _ZSTD:
        raise Refused("the engine has a layer that is packed with zstd", "build or pull the image with gzip")
    source = gzip.GzipFile(fileobj=file) if first[:2] == _GZIP else file
    while chunk := source.read(CHUNK):
        yield chunk


def _content(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is not a file")
    return found


def _archive(image: SavedImage, tag: str) -> Iterator[bytes]:
    config = blob_name(digest_of(image.config))
    listed = {"Config": config, "RepoTags": [tag], "Layers": [blob_name(layer.digest) for layer in image.layers]}
    listing = canonical([listed])
    yield from tape.member("manifest.json", len(listing), [listing])
    yield from tape.member(config, len(image.config), [image.config])
    for layer in {layer.digest: layer for layer in image.layers if layer.size}.values():
        yield from tape.member(blob_name(layer.digest), layer.size, layer.read())
    yield tape.END

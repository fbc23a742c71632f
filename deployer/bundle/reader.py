"""Reading a bundle, believing nothing: what is not exactly as it must be is refused, with where and why."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeVar

from deployer.bundle import data, head, layers, tape
from deployer.bundle.contents import Contents, Part, blob_name
from deployer.bundle.index import LAYOUT, Index
from deployer.core.errors import Refused

MOST_INDEX = 4 * 1024 * 1024  # bytes
MOST_CONTENTS = 64 * 1024 * 1024
MOST_CONFIG = 4 * 1024 * 1024
T = TypeVar("T")
_DIGEST = re.compile("sha256:[0-9a-f]{64}")
AGAIN = "copy it again, or make it again: `deploy bundle make`"


class Place(NamedTuple):
    """Where the content of a part begins in the file, and how long it is."""

    at: int
    size: int


class Bundle:
    """A bundle whose contents are proven; a part of it is proven while it is read."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self._file = path, file
        self.size = os.fstat(file.fileno()).st_size
        at = 0
        if headed := self._begins_with_head():
            at = tape.BLOCK + head.SIZE
        self._member("oci-layout", Place(at + tape.BLOCK, len(LAYOUT)), LAYOUT)
        at += 2 * tape.BLOCK + len(LAYOUT) + len(tape.padding(len(LAYOUT)))
        size = self._announced("index.json", at - tape.BLOCK, MOST_INDEX)
        said = self._bytes(Place(at, size))
        self.index = self._understood("index.json", Index.read, said)
        if not _DIGEST.fullmatch(self.index.contents):
            raise self._refused("index.json names no contents")
        name = blob_name(self.index.contents)
        at += size + len(tape.padding(size)) + tape.BLOCK
        size = self._announced(name, at - tape.BLOCK, MOST_CONTENTS)
        found = self._proven(Part.model_construct(digest=self.index.contents, size=size), at)
        self.contents = self._understood("the contents", Contents.read, found)
        if headed != (self.contents.tool is not None):
            raise self._refused("its head and its contents do not agree on whether the tool is in it")
        if self.contents.tool:
            self._member(head.NAME, Place(tape.BLOCK, head.SIZE), head.content(self.contents.tool))
        if self.index.data(self.contents) != said:
            raise self._refused("index.json is not the one of the contents")
        self.places = self._placed(at + size + len(tape.padding(size)))

    def _begins_with_head(self) -> bool:
        wanted = tape.header(head.NAME, head.SIZE)
        return self.size > len(wanted) and self._bytes(Place(0, len(wanted))) == wanted

    def _placed(self, at: int) -> dict[str, Place]:
        """Return where each part is; the file must end behind the last one."""
        parts, left_out = self.contents.parts(), self.index.left_out
        unknown = [digest for digest in left_out if digest not in parts or digest in self.contents.needed()]
        if unknown or list(left_out) != sorted(set(left_out)):
            raise self._refused("what index.json leaves out is not a part that an older bundle could have")
        places = {}
        for digest, part in parts.items():
            if digest not in left_out:
                at += tape.BLOCK
                places[digest] = Place(at, part.size)
                at += part.size + len(tape.padding(part.size))
        self._end = at
        if self.size != at + len(tape.END):
            what = "cut off" if self.size < at + len(tape.END) else "longer than its contents say"
            raise self._refused(f"the file is {what}: {self.size:,} bytes instead of {at + len(tape.END):,}")
        return places

    def check(self) -> None:
        """Read every byte. Raise Refused for the first one that is not as it must be."""
        for digest, place in self.places.items():
            name = blob_name(digest)
            self._member(name, place, None)
        if self._bytes(Place(self._end, len(tape.END))) != tape.END:
            raise self._refused(f"there is something behind its end, at byte {self._end:,}")
        for saved in self.contents.data_parts:
            if saved.kind == "mount" and self.has(saved.part.digest):
                self._looked_into(f"the data of {saved.name}", data.check, saved.part)
        image = self.contents.image
        if image is None:
            return
        config = self.read(image.config.digest, MOST_CONFIG)
        said: Any = self._understood("the configuration of the image", json.loads, config)
        root = said.get("rootfs") if isinstance(said, dict) else None
        wanted = [layer.digest for layer in image.layers]
        if not isinstance(root, dict) or root.get("diff_ids") != wanted:
            raise self._refused("the layers are not those of the image's configuration")
        if (said.get("os"), said.get("architecture")) != (image.os, image.architecture):
            raise self._refused("the platform is not that of the image's configuration")
        for layer in image.layers:
            if self.has(layer.digest):
                self._looked_into(f"layer {layer.digest[:19]}", layers.check, layer)

    def _looked_into(self, what: str, look: Callable[[BinaryIO, int], None], part: Part) -> None:
        self._file.seek(self.places[part.digest].at)
        try:
            look(self._file, part.size)
        except ValueError as error:
            raise self._refused(f"{what}: {error}") from None

    def has(self, digest: str) -> bool:
        """Return whether a part is in this file."""
        return digest in self.places

    def read(self, digest: str, most: int) -> bytes:
        """Return a whole part, of no more than `most` bytes. Raise Refused."""
        place = self.places[digest]
        if place.size > most:
            raise self._refused(f"{digest[:19]} has {place.size:,} bytes, {most:,} at most are allowed")
        return b"".join(self.chunks(digest))

    def chunks(self, digest: str) -> Iterator[bytes]:
        """Read a part piece by piece, the last one only when all were right. Raise Refused."""
        place, total = self.places[digest], hashlib.sha256()
        held = b""
        for chunk in self._chunks(place):
            total.update(chunk)
            yield held
            held = chunk
        if f"sha256:{total.hexdigest()}" != digest:
            raise self._damaged(digest, place)
        yield held

    def _proven(self, part: Part, at: int) -> bytes:
        data = self._bytes(Place(at, part.size))
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != part.digest:
            raise self._damaged(part.digest, Place(at, part.size))
        return data

    def _member(self, name: str, place: Place, content: bytes | None) -> None:
        """Check header, content and padding of a member; `content` is what a name that is no digest must have."""
        found = self._bytes(Place(place.at - tape.BLOCK, tape.BLOCK))
        if found != tape.header(name, place.size):
            raise self._strange(name, found, place.at - tape.BLOCK)
        if content is not None and self._bytes(place) != content:
            raise self._refused(f"{name} is not that of a bundle")
        if content is None:
            for _ in self.chunks(f"sha256:{name.rpartition('/')[2]}"):
                pass
        self._padded(place)

    def _announced(self, name: str, at: int, most: int) -> int:
        """Return the size that the header of a member says. Raise Refused where it is not the header of that name."""
        found = self._bytes(Place(at, tape.BLOCK))
        field = found[124:136]
        size = int(field[:11], 8) if field[:11].isdigit() and not set(field[:11]) & set(b"89") else -1
        if size < 0 or found != tape.header(name, size):
            raise self._strange(name, found, at)
        if size > most:
            raise self._refused(f"{name} has {size:,} bytes, {most:,} at most are allowed")
        self._padded(Place(at + tape.BLOCK, size))
        return size

    def _padded(self, place: Place) -> None:
        wanted = tape.padding(place.size)
        if self._bytes(Place(place.at + place.size, len(wanted))) != wanted:
            raise self._refused(f"there is something between two members, at byte {place.at + place.size:,}")

    def _bytes(self, place: Place) -> bytes:
        return b"".join(self._chunks(place))

    def _chunks(self, place: Place) -> Iterator[bytes]:
        at, end = place.at, place.at + place.size
        while at < end:
            try:
                chunk = os.pread(self._file.fileno(), min(tape.CHUNK, end - at), at)
            except OSError as error:
                raise self._refused(f"it cannot be read at byte {at:,}: {error.strerror}") from None
            if not chunk:
                raise self._refused(f"the file is cut off at byte {at:,}")
            at += len(chunk)
            yield chunk

    def _understood(self, what: str, read: Callable[[bytes], T], data: bytes) -> T:
        try:
            return read(data)
        except (ValueError, RecursionError) as error:
            raise self._refused(f"{what} cannot be read: {error}") from None

    def _strange(self, name: str, found: bytes, at: int) -> Refused:
        return self._refused(f"at byte {at:,} there is {tape.strange(found)} instead of the file {name}")

    def _damaged(self, digest: str, place: Place) -> Refused:
        return self._refused(f"{digest[:19]} is damaged: bytes {place.at:,} to {place.at + place.size:,} are others")

    def _refused(self, why: str) -> Refused:
        return Refused(f"{self.path} is not a sound bundle: {why}", AGAIN)


@contextmanager
def opened(path: Path) -> Iterator[Bundle]:
    """Open a bundle. Raise Refused where it is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}", "name the file of a bundle") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Refused(f"{path} is not a regular file", "name the file of a bundle")
    with os.fdopen(descriptor, "rb") as file:
        yield Bundle(path, file)

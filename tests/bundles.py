"""Bundles that tests make without an engine, and what can be wrong with them."""

from __future__ import annotations

import io
import json
import platform
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployer.bundle import tape
from deployer.bundle.contents import Contents, Entry, OciImage, Part, Tool, canonical, digest_of
from deployer.bundle.index import LAYOUT, Index
from deployer.bundle.writer import stream


def layer(*files: tuple[str, bytes]) -> bytes:
    """Make a layer as engines write them."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, text in files:
            member = tarfile.TarInfo(name)
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return made.getvalue()


def part(data: bytes) -> Part:
    return Part(digest=digest_of(data), size=len(data))


class Made:
    """A bundle with an image of one layer, and two files; what it says of itself can be changed."""

    def __init__(
        self,
        lowest: bytes = b"",
        tree: bytes = b"",
        python: str = "3.11",
        text: bytes = b"service: shop\n",
        **config: Any,
    ) -> None:
        self.layer = lowest or layer(("app", b"a program" * 50))
        root = {"type": "layers", "diff_ids": [digest_of(self.layer)]}
        self.config = canonical({"os": "linux", "architecture": "amd64", "rootfs": root, **config})
        self.files = {"deploy.yml": text, "bin/hook": b"#!/bin/sh\n"}
        self.entries: list[dict[str, Any]] = [
            {"path": path, "kind": "file", "part": part(text)} for path, text in self.files.items()
        ]
        self.blobs = [self.layer, self.config, *self.files.values(), *([tree] if tree else [])]
        self.tool = Tool(python=python, machine=platform.machine(), tree=part(tree)) if tree else None

    def contents(self) -> Contents:
        image = OciImage(
            reference="shop:1", config=part(self.config), layers=(part(self.layer),), os="linux", architecture="amd64"
        )
        files = tuple(Entry(**entry) for entry in self.entries)
        return Contents(
            format=1, service="shop", version="1", runtime="docker", image=image, files=files, tool=self.tool
        )

    def parts(self) -> dict[str, bytes]:
        image = self.contents().image
        assert image is not None
        return {digest_of(blob): blob for blob in (*self.blobs, image.manifest())}

    def data(self, left_out: tuple[str, ...] = ()) -> bytes:
        """Write it as the tool does."""
        parts = self.parts()
        return b"".join(stream(self.contents(), lambda digest: [parts[digest]], left_out))

    def forged(self, document: bytes, named: Callable[[bytes], bytes] = lambda index: index) -> bytes:
        """Write it with contents of somebody else's, under their right digest."""
        index = named(Index(digest_of(document)).data(self.contents()))
        members = [("oci-layout", LAYOUT), ("index.json", index)]
        members.append((f"blobs/sha256/{digest_of(document)[7:]}", document))
        return b"".join(b"".join(tape.member(name, len(text), [text])) for name, text in members) + tape.END

    def saying(self, **changed: Any) -> bytes:
        """Write it with contents in which these keys are others."""
        document = json.loads(self.contents().data())
        return self.forged(canonical({**document, **changed}))

    def file(self, **entry: Any) -> bytes:
        """Write it with one more file."""
        files = json.loads(self.contents().data())["files"]
        return self.saying(files=[*files, entry])


def holes(size: int) -> bytes:
    """Make a layer with a file of which nothing is there but its size."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo("zeroes")
        text = f"1\n{size}\n0\n".encode().ljust(tape.BLOCK, b"\0")
        member.size = len(text)
        sparse = {"major": "1", "minor": "0", "name": "zeroes", "realsize": str(size)}
        member.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
        archive.addfile(member, io.BytesIO(text))
    return made.getvalue()


def strange(kind: bytes, name: str = "oci-layout", link: str = "") -> bytes:
    """Make an archive that begins with a member of another kind."""
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, link, 0o644
    return member.tobuf(tarfile.GNU_FORMAT) + bytes(20 * tape.BLOCK)


def written(folder: Path, data: bytes) -> Path:
    place = folder / "some.bundle"
    place.write_bytes(data)
    return place

"""What is in a bundle: one document that names each part by its digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from deployer.core.limits import SERVICE

Digest = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Size = Annotated[int, Field(ge=0, le=2**50)]
Kind = Literal["file", "program", "link", "folder"]
LONGEST = 1024  # bytes of a path
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def digest_of(data: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def blob_name(digest: str) -> str:
    """Return the name of a blob in an image layout."""
    return f"blobs/sha256/{digest.removeprefix('sha256:')}"


def canonical(document: Any) -> bytes:
    """Write JSON in the one way in which bundles have it."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Part(_Strict):
    """A blob."""

    digest: Digest
    size: Size


class Entry(_Strict):
    """A file, a program, a link or a folder that is unpacked; `target` is where a link leads."""

    path: str
    kind: Kind
    part: Part | None = None
    target: str = ""

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if (self.part is not None) != (self.kind in ("file", "program")) or bool(self.target) != (self.kind == "link"):
            raise ValueError(f"{self.path!a} is no {self.kind}")
        if not _inside(self.path):
            raise ValueError(f"{self.path!a} is not a path inside the bundle")
        if self.target and not _leads_inside(self.path, self.target):
            raise ValueError(f"the link {self.path!a} leads out of the bundle, to {self.target!a}")
        return self


class OciImage(_Strict):
    """A container image: the name that people gave it, its configuration, whose digest is its id, and its layers."""

    reference: str
    config: Part
    layers: tuple[Part, ...]
    os: str
    architecture: str

    def manifest(self) -> bytes:
        """Return its OCI manifest."""
        config = {"mediaType": "application/vnd.oci.image.config.v1+json", **self.config.model_dump()}
        layers = [{"mediaType": _LAYER, **layer.model_dump()} for layer in self.layers]
        kind = "application/vnd.oci.image.manifest.v1+json"
        return canonical({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers})

    @property
    def platform(self) -> str:
        """What it runs on."""
        return f"{self.os}/{self.architecture}"


class Tool(_Strict):
    """The tool itself, as an archive of Python packages: for which Python and which processor."""

    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]{1,3}$")]
    machine: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,40}$")]
    tree: Part


class Sealed(_Strict):
    """Secrets, encrypted to recipients whom nobody but they knows."""

    names: Annotated[tuple[str, ...], Field(min_length=1)]
    part: Part


class Data(_Strict):
    """Data of a service: of what its instances mount at the path `name`, or what lifecycle playbooks have saved."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST)]
    kind: Literal["mount", "playbook"]
    part: Part

    @model_validator(mode="after")
    def _plausible(self) -> Self:
        if not self.name.isprintable():
            raise ValueError(f"{self.name!a} is no name of data")
        return self


class Contents(_Strict):
    """What a bundle brings: a release of a service, where it comes from, and its parts.

    `who`, `when` and `why` are those of the Git commit, so that two people make the same file of the same commit.
    `files` belong to the folder of the manifest. `directory` is what runtimes without an engine deploy: a directory, or
    a single file; `machines` names the processors for which there are programs in it.
    """

    format: Literal[1]
    service: Annotated[str, StringConstraints(pattern=rf"^{SERVICE}$")]
    version: str
    runtime: str
    git: str = ""
    who: str = ""
    when: int = 0
    why: str = ""
    image: OciImage | None = None
    files: tuple[Entry, ...] = ()
    directory: tuple[Entry, ...] = ()
    machines: tuple[str, ...] = ()
    tool: Tool | None = None
    sealed: Sealed | None = None
    data_parts: tuple[Data, ...] = ()

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Read what `data` wrote. Raise ValueError for everything else."""
        try:
            found = cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            at = ".".join(map(str, first["loc"]))
            raise ValueError(f"{at}: {first['msg']}" if at else first["msg"]) from None
        if found.data() != data:
            raise ValueError("they are not written as `deploy bundle make` writes them")
        return found

    def data(self) -> bytes:
        """Write it, without defaults, so that later versions may add keys; a signature signs the digest of this."""
        return canonical(self.model_dump(mode="json", exclude_defaults=True))

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for entries in (self.files, self.directory):
            _refuse_overlaps(entries)
        if len({data.name for data in self.data_parts}) < len(self.data_parts):
            raise ValueError("some data is named twice")
        sizes: dict[str, int] = {}
        for part in self._parts():
            if sizes.setdefault(part.digest, part.size) != part.size:
                raise ValueError(f"{part.digest} has two sizes")
        return self

    def _parts(self) -> Iterator[Part]:
        if self.image:
            manifest = self.image.manifest()
            yield Part(digest=digest_of(manifest), size=len(manifest))
            yield self.image.config
            yield from self.image.layers
        yield from (entry.part for entry in (*self.files, *self.directory) if entry.part)
        if self.tool:
            yield self.tool.tree
        if self.sealed:
            yield self.sealed.part
        yield from (data.part for data in self.data_parts)

    def parts(self) -> dict[str, Part]:
        """Return each part once: manifest and configuration of the image, then the others in the order of digests."""
        every = {part.digest: part for part in self._parts()}
        first = list(every)[: 2 if self.image else 0]
        return {digest: every[digest] for digest in (*first, *sorted(every.keys() - set(first)))}

    def files_parts(self) -> dict[str, Part]:
        """Return the parts that are files."""
        return {entry.part.digest: entry.part for entry in (*self.files, *self.directory) if entry.part}

    def optional(self) -> frozenset[str]:
        """Return the parts that a delta leaves out where the older bundle has them, too, beside layers."""
        return frozenset(self.files_parts()) | {data.part.digest for data in self.data_parts}

    def needed(self) -> frozenset[str]:
        """Return the parts that no delta leaves out: what says what the others are, the tool, and secrets."""
        first = frozenset(list(self.parts())[:2]) if self.image else frozenset()
        tool = {self.tool.tree.digest} if self.tool else frozenset()
        return first | tool | ({self.sealed.part.digest} if self.sealed else frozenset())


def _inside(path: str) -> bool:
    pure = PurePosixPath(path)
    plain = path.isprintable() and len(path.encode()) <= LONGEST and str(pure) == path
    return plain and not pure.is_absolute() and path != "." and ".." not in pure.parts


def _leads_inside(path: str, target: str) -> bool:
    if not target.isprintable() or len(target.encode()) > LONGEST or target.startswith("/"):
        return False
    depth = len(PurePosixPath(path).parts) - 1
    for step in target.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(step, 1)
        if depth < 0:
            return False
    return True


def _refuse_overlaps(entries: tuple[Entry, ...]) -> None:
    kinds: dict[str, str] = {}
    for entry in entries:
        if entry.path in kinds:
            raise ValueError(f"{entry.path!a} is named twice")
        kinds[entry.path] = entry.kind
    for path in kinds:
        for above in PurePosixPath(path).parents:
            if kinds.get(str(above), "folder") != "folder":
                raise ValueError(f"{path!a} lies below {str(above)!a}, which is not a folder")

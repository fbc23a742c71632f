"""Data of a service as a tar archive: what is below one folder, with owners, modes and times.

The same data gives the same bytes: names of users are left out, as other hosts have other numbers for them, and times
are whole seconds.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from deployer.bundle.layers import Region

FOLDER = "deployer-data"  # of which the archive is, with all below it
_XATTR = "SCHILY.xattr."
_KINDS = (tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE)
Member = tuple[tarfile.TarInfo, IO[bytes] | None]  # with the content of a file


class ByteSink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes, /) -> object:
        """Take some more."""
        ...


def normalise(archive: Iterable[bytes], target: ByteSink) -> int:
    """Write an archive as bundles have it; return how many files and folders are below its own folder.

    Raise ValueError for what no bundle has: devices, named pipes, names outside of the folder.
    """
    return write(members(archive), target)


def write(found: Iterable[Member], target: ByteSink) -> int:
    """Write members as bundles have them; return how many files and folders are below the folder of the archive.

    Raise ValueError as `normalise` does.
    """
    count = -1
    with tarfile.open(fileobj=cast("IO[bytes]", target), mode="w|", format=tarfile.PAX_FORMAT) as written:
        for member, content in found:
            _refuse_strange(member)
            written.addfile(_plain(member), content)
            count += 1
    return count


def members(archive: Iterable[bytes]) -> Iterator[Member]:
    """Read an archive that comes in pieces."""
    with tarfile.open(fileobj=_Reading(archive), mode="r|") as source:
        for member in source:
            yield member, source.extractfile(member) if member.isreg() else None


def holds_something(archive: Iterable[bytes]) -> bool:
    """Return whether there is anything below the folder of an archive, of which no more is read than that takes."""
    with tarfile.open(fileobj=_Reading(archive), mode="r|") as source:
        return any(member.name != FOLDER for member in source)


class Hashed:
    """Takes the bytes of an archive and keeps their sum."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """Take some more."""
        self._sum.update(data)
        return len(data)

    @property
    def digest(self) -> str:
        """The digest of all that was written."""
        return f"sha256:{self._sum.hexdigest()}"


def check(file: BinaryIO, size: int) -> None:
    """Read an archive from where the file is. Raise ValueError for one that `normalise` did not write."""
    try:
        with tarfile.open(fileobj=Region(file, size), mode="r|") as archive:
            for member in archive:
                _refuse_strange(member)
    except (tarfile.TarError, EOFError, OverflowError) as error:
        raise ValueError(f"it is not a tar archive: {error}") from None


def _refuse_strange(member: tarfile.TarInfo) -> None:
    if member.type not in _KINDS or member.issparse():
        raise ValueError(f"{member.name[:100]!a} is neither a file, a folder nor a link")
    names = [member.name, *([member.linkname] if member.islnk() else [])]
    for name in names:
        if PurePosixPath(name).parts[:1] != (FOLDER,) or ".." in PurePosixPath(name).parts:
            raise ValueError(f"{name[:100]!a} is outside of the data")


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
    made = tarfile.TarInfo(member.name)
    made.type, made.linkname, made.size = member.type, member.linkname, member.size
    made.mode, made.uid, made.gid, made.mtime = member.mode, member.uid, member.gid, int(member.mtime)
    made.pax_headers = {key: value for key, value in sorted(member.pax_headers.items()) if key.startswith(_XATTR)}
    return made


class _Reading(io.RawIOBase):
    """What comes piece by piece, as a file that is read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self._pieces: Iterator[bytes] = iter(pieces)
        self._left = b""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next `size` bytes, fewer at the end."""
        wanted = -1 if size is None else size
        found = [self._left]
        have = len(self._left)
        while (wanted < 0 or have < wanted) and (piece := next(self._pieces, b"")):
            found.append(piece)
            have += len(piece)
        data = b"".join(found)
        wanted = have if wanted < 0 else wanted
        self._left = data[wanted:]
        return data[:wanted]

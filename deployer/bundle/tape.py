"""Tar as bundles are written: regular files with nothing but a name and a size, and one way to write each of them."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import BinaryIO

BLOCK = 512
END = bytes(2 * BLOCK)
CHUNK = 1024 * 1024


def header(name: str, size: int, mode: int = 0o644) -> bytes:
    """Return the one header that a member may have."""
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, mode, 0
    return member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def padding(size: int) -> bytes:
    """Return what follows a member of this size up to the next block."""
    return bytes(-size % BLOCK)


def member(name: str, size: int, content: Iterable[bytes], mode: int = 0o644) -> Iterable[bytes]:
    """Return the bytes of a member, whose content has this size."""
    yield header(name, size, mode)
    yield from content
    yield padding(size)


def chunks(file: BinaryIO) -> Iterable[bytes]:
    """Read a file piece by piece."""
    while chunk := file.read(CHUNK):
        yield chunk


def strange(block: bytes) -> str:
    """Return what a header is that is not the one expected, for an error."""
    try:
        found = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        return "no header of a tar archive"
    kinds = {
        tarfile.LNKTYPE: "a hard link",
        tarfile.SYMTYPE: "a link",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a named pipe",
        tarfile.DIRTYPE: "a folder",
        tarfile.GNUTYPE_SPARSE: "a file with holes",
    }
    kind = kinds.get(found.type, "a file" if found.isreg() else "an extended header")
    return f"{kind} named {found.name[:100]!a}"

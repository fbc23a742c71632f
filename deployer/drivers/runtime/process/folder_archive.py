"""A folder of this host as an archive of data, and back: owners, modes, links and times are kept.

Who runs `deploy` is user 0 in an archive, so that a service of a plain user moves to a host where that user has another
number. Whatever an archive says, nothing outside of its folder is written.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import IO

from deployer.bundle import data
from deployer.bundle.tape import CHUNK


def pack(folder: Path) -> Iterator[data.Member]:
    """Read a folder: itself, then all below it in the order of names; sockets are left out.

    Raise ValueError for what an archive would not bring back, OSError for what cannot be read.
    """
    with tarfile.open(fileobj=io.BytesIO(), mode="w") as known:  # it tells hard links of one file
        for path, name in _walk(folder, data.FOLDER):
            if stat.S_ISSOCK(path.lstat().st_mode):
                continue
            member = known.gettarinfo(path, name)
            _own(member)
            if not member.isreg():
                yield member, None
                continue
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                yield member, file


def unpack(members: Iterator[data.Member], folder: Path) -> None:
    """Write members into a folder that is there; what is below it of the same name is replaced.

    Raise ValueError for what would be written elsewhere, OSError where it cannot be written.
    """
    made: list[tuple[Path, tarfile.TarInfo]] = []
    for member, content in members:
        path = _place(folder, member.name)
        _write(folder, path, member, content)
        if member.isdir():
            made.append((path, member))
        elif not member.islnk():
            _belongs(path, member)
    for path, member in reversed(made):  # a folder gets its time when nothing more is written into it
        _belongs(path, member)


def _walk(path: Path, name: str) -> Iterator[tuple[Path, str]]:
    yield path, name
    if stat.S_ISDIR(path.lstat().st_mode):
        for below in sorted(path.iterdir()):
            yield from _walk(below, f"{name}/{below.name}")


def _own(member: tarfile.TarInfo) -> None:
    """Set the owner of a file in the archive; only root can give back what belongs to others."""
    if os.geteuid() == 0:
        return
    if member.uid != os.geteuid():
        raise ValueError(f"{member.name!a} belongs to user {member.uid}, and only root gives files to others")
    member.uid = 0
    member.gid = 0 if member.gid == os.getegid() else member.gid


def _place(folder: Path, name: str) -> Path:
    """Return where a member is written; no link leads there."""
    parts = PurePosixPath(name).parts
    if parts[:1] != (data.FOLDER,) or ".." in parts:
        raise ValueError(f"{name[:100]!a} is outside of the data")
    path = folder
    for part in parts[1:]:
        if path != folder and path.is_symlink():
            raise ValueError(f"{name[:100]!a} is behind a link")
        path /= part
    return path


def _write(folder: Path, path: Path, member: tarfile.TarInfo, content: IO[bytes] | None) -> None:
    if member.isdir():
        if not stat.S_ISDIR(_mode(path)):
            path.unlink(missing_ok=True)
            path.mkdir(0o700)
        return
    if path == folder:
        raise ValueError("it is not the data of a folder")
    path.unlink(missing_ok=True)
    if member.issym():
        path.symlink_to(member.linkname)
    elif member.islnk():
        os.link(_place(folder, member.linkname), path, follow_symlinks=False)
    elif content is not None:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            shutil.copyfileobj(content, file, CHUNK)


def _mode(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.lstat().st_mode
    return 0


def _belongs(path: Path, member: tarfile.TarInfo) -> None:
    """Set a file's owner, mode and time."""
    uid, gid = member.uid, member.gid
    if os.geteuid() != 0:
        if uid:
            raise ValueError(f"{member.name!a} belongs to user {uid}, and only root gives files to others")
        uid, gid = os.geteuid(), gid or os.getegid()
    os.chown(path, uid, gid, follow_symlinks=False)
    if not member.issym():
        path.chmod(member.mode)
    os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)

"""Snapshots of what is deployed: a directory or a single program, named by its content.

The name covers the relative paths, which files are executable, link targets, and all bytes; owners, times and the other
mode bits differ between two checkouts of the same thing and are left out. A link that leads out of the directory is
kept as it is: what it points to is not part of the release.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from deployer.clock import Deadline
from deployer.errors import DriverFailed, Refused
from deployer.events import Tell
from deployer.model import Release

KIND = "dir:sha256:"
# Never part of what runs; bytecode would make the name depend on what was imported before.
LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})


class Artifacts:
    """The snapshots of one service. Each service has its own, so that pruning one never hurts another."""

    def __init__(self, folder: Path, state: Path) -> None:
        self._folder = folder
        self._state = state  # our own state may lie in the directory that is deployed; it is left out

    def take(self, source: Path, deadline: Deadline, tell: Tell) -> str:
        """Copy the source, unless the same content is here already; give its id."""
        known = KIND + self._digest(source)
        if self._place(known).is_dir():
            return known
        tell("note", text=f"copying {source}")
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        copy = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
        try:
            self._copy(source, copy, deadline)
            # Named after the copy: the source may change while it is read.
            identity = KIND + self._digest(copy)
            _protect(copy)
            if not self._place(identity).is_dir():
                copy.rename(self._place(identity))
            return identity
        finally:
            _delete(copy)

    def path(self, release: Release) -> Path:
        """Give the snapshot of a release. Raises DriverFailed when it is gone."""
        place = self._place(release.image_id)
        if not release.image_id.startswith(KIND) or not place.is_dir():
            raise DriverFailed(
                f"the files of {release.service} {release.name} are gone: {place}",
                f"deploy {release.image} again, or go to another release",
            )
        return place

    def remove(self, identities: Sequence[str]) -> tuple[str, ...]:
        """Remove snapshots; give those that were there."""
        removed = [identity for identity in identities if self._place(identity).is_dir()]
        for identity in removed:
            _delete(self._place(identity))
        return tuple(removed)

    def _place(self, identity: str) -> Path:
        return self._folder / identity.removeprefix(KIND)

    def _files(self, source: Path) -> Iterator[tuple[Path, str]]:
        """Give all files and folders with their relative names, in the order of the names."""
        if not source.is_dir():
            yield source, source.name
            return
        for parent, folders, files in os.walk(source):
            folders[:] = sorted(f for f in folders if f not in LEFT_OUT and Path(parent, f) != self._state)
            for name in sorted([*folders, *files]):
                path = Path(parent, name)
                yield path, str(path.relative_to(source))

    def _digest(self, source: Path) -> str:
        total = hashlib.sha256()
        for path, name in sorted(self._files(source), key=lambda found: found[1]):
            total.update(f"{_kind(path)} {len(os.fsencode(name))} ".encode() + os.fsencode(name))
            total.update(_content(path))
        return total.hexdigest()

    def _copy(self, source: Path, target: Path, deadline: Deadline) -> None:
        for path, name in self._files(source):
            deadline.check(f"copy {source}")
            place = target / name
            match _kind(path):
                case "folder":
                    place.mkdir()
                case "link":
                    place.symlink_to(path.readlink())
                case kind:
                    shutil.copyfile(path, place)
                    place.chmod(0o755 if kind == "program" else 0o644)


def _kind(path: Path) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_ISDIR(mode):
        return "folder"
    if not stat.S_ISREG(mode):
        raise Refused(f"{path} is neither a file, a folder nor a link", "move it out of what is deployed")
    return "program" if mode & 0o111 else "file"


def _content(path: Path) -> bytes:
    """Give a fixed-length stand-in for what a file holds."""
    match _kind(path):
        case "folder":
            return b""
        case "link":
            return hashlib.sha256(os.fsencode(path.readlink())).digest()
        case _:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()


def _protect(folder: Path) -> None:
    """Take away the right to write: several instances and later rollbacks run from these files."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o555 if path.is_dir() or path.stat().st_mode & 0o111 else 0o444)
    folder.chmod(0o755)  # renamed and removed as a whole, for which its owner must be able to write it


def _delete(folder: Path) -> None:
    """Remove a tree, write-protected or not; one that is gone is no error."""
    if not folder.exists():
        return
    for parent, _, _ in os.walk(folder):
        Path(parent).chmod(0o755)
    shutil.rmtree(folder)

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
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.errors import ImageGone, Refused
from deployer.core.events import Tell
from deployer.model import Release

KIND = "dir:sha256:"
ABANDONED = 86_400.0  # seconds after which what no record names belongs to nobody, not even to a deploy that begins
# Never part of what runs; bytecode would make the name depend on what was imported before.
LEFT_OUT = frozenset({".git", ".hg", ".svn", "__pycache__"})


class Artifacts:
    """The snapshots of one service. Each service has its own, so that pruning one never hurts another."""

    def __init__(self, folder: Path, state: Path) -> None:
        self._folder = folder
        self._state = state  # our own state may lie in the directory that is deployed; it is left out

    def take(self, source: Path, deadline: Deadline, tell: Tell) -> str:
        """Copy the source, unless the same content is here already; return its id."""
        known = KIND + self._digest(source)
        if self._place(known).is_dir():
            return known
        tell("step.progress", text=f"copying {source}")
        files.folder(self._folder)
        self._sweep()
        with files.half_made(self._folder) as copy:
            self._copy(source, copy, deadline)
            # Named after the copy: the source may change while it is read.
            identity = KIND + self._digest(copy)
            os.sync()  # one flush of all; a power cut must not leave a snapshot with its name but without its bytes
            if not self._place(identity).is_dir():
                copy.rename(self._place(identity))
            return identity

    def path(self, release: Release, identity: str = "") -> Path:
        """Return the snapshot of a release, or another that it keeps. Raises ImageGone when it is gone."""
        identity = identity or release.image_id
        place = self._place(identity)
        if not identity.startswith(KIND) or not place.is_dir():
            raise ImageGone(
                f"the files of {release.service} {release.name} are gone: {place}",
                f"deploy {release.image} again, or deploy another release",
            )
        return place

    def remove(self, identities: Sequence[str]) -> tuple[str, ...]:
        """Remove snapshots; return those that were there."""
        removed = [identity for identity in identities if self._place(identity).is_dir()]
        for identity in removed:
            shutil.rmtree(self._place(identity))
        return tuple(removed)

    def unneeded(self, needed: set[str]) -> tuple[Path, ...]:
        """Return the snapshots that are not needed, and half-made copies; of either only what is old."""
        return tuple(p for p in sorted(self._folder.glob("*")) if KIND + p.name not in needed and abandoned(p))

    def _sweep(self) -> None:
        """Remove copies whose maker was killed, long ago enough that nobody can still be at work on them."""
        for copy in self._folder.glob(f"{files.HALF}*"):
            if abandoned(copy):
                shutil.rmtree(copy, ignore_errors=True)

    def _place(self, identity: str) -> Path:
        return self._folder / identity.removeprefix(KIND)

    def _files(self, source: Path) -> Iterator[tuple[Path, str]]:
        """Yield all files and folders with their relative names, in the order of the names."""
        if not source.is_dir():
            yield source, source.name
            return
        for parent, folders, others in os.walk(source):
            folders[:] = sorted(f for f in folders if f not in LEFT_OUT and Path(parent, f) != self._state)
            for name in sorted([*folders, *others]):
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
                    # Several instances and later rollbacks run from these files. Folders stay writable, or else their
                    # owner could not even remove them.
                    place.chmod(0o555 if kind == "program" else 0o444)


class Snapshots:
    """The snapshots of all services, each in a folder of its own below `folder`."""

    def __init__(self, folder: Path, state: Path) -> None:
        self._folder = folder
        self._state = state

    def of(self, service: str) -> Artifacts:
        """Return the snapshots of a service."""
        return Artifacts(self._folder / service, self._state)

    def prune(self, drop: Sequence[Release], needed: set[str], parts: Callable[[Release], set[str]]) -> tuple[str, ...]:
        """Remove the parts of releases that are not needed; return what was removed."""
        removed: list[str] = []
        for service in sorted({release.service for release in drop}):
            unused = {part for r in drop if r.service == service for part in parts(r)} - needed
            removed += self.of(service).remove(sorted(unused))
        return tuple(removed)

    def unneeded(self, needed: set[str]) -> tuple[Path, ...]:
        """Return what of all services is not needed and old."""
        return tuple(
            path for folder in sorted(self._folder.glob("*")) for path in self.of(folder.name).unneeded(needed)
        )


def remove_all(folders: Sequence[Path]) -> tuple[str, ...]:
    """Remove folders; return their names."""
    for path in folders:
        shutil.rmtree(path)
    return tuple(str(path) for path in folders)


def abandoned(path: Path) -> bool:
    """Return whether a file or folder was left as it is for so long that nobody can still be at work on it."""
    try:
        return time.time() - path.lstat().st_mtime > ABANDONED
    except FileNotFoundError:
        return False


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
    """Return a fixed-length stand-in for what a file holds."""
    match _kind(path):
        case "folder":
            return b""
        case "link":
            return hashlib.sha256(os.fsencode(path.readlink())).digest()
        case _:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()

"""The files of a bundle in a folder, made whole or not at all; what was unpacked lends its files to a delta."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from deployer.bundle import tape
from deployer.bundle.contents import Contents, Entry, Part
from deployer.bundle.reader import MOST_CONTENTS, Bundle
from deployer.core import files
from deployer.core.errors import Refused
from deployer.core.filelock import FileLock

CONTENTS, FILES, DIRECTORY, MANIFEST = "contents.json", "files", "directory", "deploy.yml"
KEPT = 10  # bundles that were unpacked and that no rollout needs
LOCK_SECONDS = 600.0  # another command may be unpacking a large bundle
_SPARE = 16 * 1024 * 1024  # bytes that stay free


class Unpacked:
    """The bundles that were unpacked below a folder, each under the digest of its contents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def place(self, bundle: Bundle) -> Path:
        """Return the folder of a bundle, whether it is there or not."""
        return self._folder / bundle.index.contents.removeprefix("sha256:")

    def lent(self, wanted: set[str]) -> dict[str, Path]:
        """Return where files with these digests are; what they hold is to be proven by the one who reads them."""
        found: dict[str, Path] = {}
        for place in self._folder.glob("*/" + CONTENTS):
            try:
                with place.open("rb") as file:
                    contents = Contents.read(file.read(MOST_CONTENTS))
            except (OSError, ValueError):
                continue  # it lends nothing
            for folder, entries in ((FILES, contents.files), (DIRECTORY, contents.directory)):
                for entry in entries:
                    if entry.part and entry.part.digest in wanted:
                        found[entry.part.digest] = place.parent / folder / entry.path
        return found

    def missing(self, contents: Contents, left_out: set[str]) -> set[str]:
        """Return which files of a delta are in no bundle that was unpacked here."""
        return (left_out & contents.files_parts().keys()) - self.lent(left_out).keys()

    def add(self, bundle: Bundle) -> Path:
        """Unpack a bundle, unless it is here; return its folder. Raise Refused, and leave nothing, where it cannot."""
        place = self.place(bundle)
        try:
            files.folder(self._folder)
            with self._alone():
                if not place.is_dir():
                    self._unpack(bundle, place)
                os.utime(place)
        except OSError as error:
            raise Refused(
                f"{bundle.path} cannot be unpacked in {self._folder}: {error.strerror}", "see `df`"
            ) from error
        return place

    def prune(self, needed: set[Path]) -> None:
        """Remove the bundles that were used longest ago, but for those whose folders of files are needed."""
        with self._alone():
            here = [place.parent for place in self._folder.glob("*/" + CONTENTS)]
            for old in sorted(here, key=lambda place: place.stat().st_mtime, reverse=True)[KEPT:]:
                if old / FILES not in needed:
                    shutil.rmtree(old)

    def _alone(self) -> AbstractContextManager[None]:
        return FileLock(self._folder / ".lock").held(LOCK_SECONDS)

    def _unpack(self, bundle: Bundle, place: Path) -> None:
        for half in self._folder.glob(f"{files.HALF}*"):  # the lock is ours: whoever made it was killed
            shutil.rmtree(half)
        entries = (*bundle.contents.files, *bundle.contents.directory)
        needed = sum(entry.part.size for entry in entries if entry.part) + _SPARE
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise Refused(f"{bundle.path} needs {needed:,} bytes in {self._folder}, {free:,} are free", "make room")
        lent = self.lent(set(bundle.index.left_out))
        with files.half_made(self._folder) as half:
            (half / CONTENTS).write_bytes(bundle.contents.data())
            for folder, entries in ((FILES, bundle.contents.files), (DIRECTORY, bundle.contents.directory)):
                (half / folder).mkdir()
                for entry in entries:
                    _make(bundle, entry, half / folder / entry.path, lent)
            os.sync()  # one flush of all, as for snapshots
            half.rename(place)
            files.sync(self._folder)


def _make(bundle: Bundle, entry: Entry, place: Path, lent: dict[str, Path]) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if entry.kind == "folder":
        place.mkdir(exist_ok=True)
    elif entry.kind == "link":
        place.symlink_to(entry.target)
    elif entry.part is not None:
        mode = 0o755 if entry.kind == "program" else 0o644
        with os.fdopen(files.new(place, mode), "wb") as file:
            for chunk in _content(bundle, entry.part, lent):
                file.write(chunk)


def _content(bundle: Bundle, part: Part, lent: dict[str, Path]) -> Iterator[bytes]:
    if bundle.has(part.digest):
        yield from bundle.chunks(part.digest)
        return
    total = hashlib.sha256()
    with lent[part.digest].open("rb") as file:
        for chunk in tape.chunks(file):
            total.update(chunk)
            yield chunk
    if f"sha256:{total.hexdigest()}" != part.digest:
        raise Refused(f"{lent[part.digest]} was changed since it was unpacked", "send the whole bundle, not a delta")

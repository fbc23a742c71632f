"""A store that is damaged or gone: how it is found, and moved aside. It is never overwritten."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Locked, StoreDamaged, StoreFailed
from deployer.core.filelock import FileLock, is_held
from deployer.store.database import Connection

NAME = "deployer.db"
PARTS = ("-wal", "-shm", "")  # of a store, the file itself last: a log that is alone is never taken for a new store's
REMEDY = "`deploy adopt` moves it aside and rebuilds it from what runs; or restore a backup"
# What a folder has in which a store was once at work.
_TRACES = (
    "deployer.db?*",
    "store.json",
    "proxy/services/*.json",
    "secrets/*/*.json",
    "processes/*/*",
    "recordings/*",
    "artifacts/*/*",
)


def whole(connection: Connection, path: Path) -> None:
    """Read all of an open store. Raises StoreDamaged when a part of it is not what it should be; about 1 ms a MiB."""
    said = [str(row[0]) for row in connection.execute("pragma quick_check(3)")]
    if said != ["ok"]:
        raise damaged(path, "; ".join(line.strip() for line in said))


def damaged(path: Path, why: str) -> StoreDamaged:
    """Make the error of a store that is damaged."""
    return StoreDamaged(f"the store {path} is damaged: {' '.join(why.split())}", REMEDY)


def refuse_lost(path: Path) -> None:
    """Raise StoreDamaged where no store is and something says that there was one: a new one is not made silently."""
    found = sorted(traces(path.parent))
    if found:
        among = f" and {len(found) - 1} more" if len(found) > 1 else ""
        raise StoreDamaged(
            f"the store {path} is gone, but a deployer has worked in this folder: {found[0]}{among}",
            "`deploy adopt` rebuilds it from what runs; or restore a backup; or name an empty folder with --state",
        )


def refuse_shortened(path: Path) -> None:
    """Raise StoreDamaged when the log of the store was taken away with changes in it that are nowhere else.

    The index of the log tells how far the log went and how much of it is in the store already
    (https://sqlite.org/walformat.html). Without the index there is no telling.
    """
    if _parts(path)["-wal"].exists():
        return
    try:
        index = _parts(path)["-shm"].read_bytes()[:100]
    except FileNotFoundError:
        return
    if len(index) < 100:
        return
    (written,), (stored,) = struct.unpack_from("=I", index, 16), struct.unpack_from("=I", index, 96)
    if written > stored and not _parts(path)["-wal"].exists():
        raise damaged(path, f"its log {path}-wal is missing, and with it the last changes")


def traces(folder: Path) -> Iterator[Path]:
    """Yield what tells that a store was once at work in a state folder, other than the store itself."""
    for pattern in _TRACES:
        yield from folder.glob(pattern)


def move_aside(folder: Path) -> tuple[Path, ...]:
    """Move the store of a state folder out of the way, whatever its condition: file, log and index together.

    For `deploy adopt`, before it opens a new store with `Store(folder, clock, new=True)`: without that a store is not
    made in a folder in which there was one. Gives where the parts are now, the store itself first:
    `deployer.db.aside-20260131T120500Z`, which SQLite opens as it opened the old one (`-wal`, `-shm` beside it); empty
    where there was none. Nothing is deleted or overwritten, the names last, and a crash in between leaves parts that
    the next call moves. Raises Locked while a process holds the lock of a service, and StoreFailed when the folder
    cannot be written.
    """
    own = FileLock(folder / "deployer.lock")
    try:
        if not own.try_take():
            raise Locked(f"the store of {folder} is being opened or moved by another command", "try again")
        try:
            _refuse_in_use(folder)
            return _moved(folder / NAME)
        finally:
            own.let_go()
    except OSError as error:
        raise StoreFailed(
            f"the store of {folder} cannot be moved aside: {error.strerror or error}", "check the folder's permissions"
        ) from None


def _refuse_in_use(folder: Path) -> None:
    for path in sorted((folder / "locks").glob("*.lock")):
        if is_held(path):
            raise Locked(
                f"{path.stem} is being changed by a process that uses this store ({_words(path)})",
                "wait for it, or end it: what it left can be adopted",
            )


def _words(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace").strip() or "unknown"


def _moved(path: Path) -> tuple[Path, ...]:
    there = {part: file for part, file in _parts(path).items() if file.exists()}
    if not there:
        return ()
    aside = _free_name(path)
    for part, file in there.items():
        file.rename(aside.with_name(aside.name + part))
    files.sync(path.parent)
    return tuple(aside.with_name(aside.name + part) for part in reversed(there))


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    names = (path.with_name(f"{path.name}.aside-{stamp}{more}") for more in ("", *(f".{n}" for n in range(2, 1000))))
    return next(name for name in names if not any(file.exists() for file in _parts(name).values()))


def _parts(path: Path) -> dict[str, Path]:
    return {part: path.with_name(path.name + part) for part in PARTS}

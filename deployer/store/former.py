"""Who still has a store open that lies there no more: a process that would go on by records nobody else sees."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def holders(store: Path) -> tuple[int, ...]:
    """Return the processes of this host that have a file open that was the store `store` and is not any more.

    Only those that this user may look at; this process is left out.
    """
    here = _inode(store)
    return tuple(sorted({pid for pid in _pids() if pid != os.getpid() and _holds(pid, store, here)}))


def _holds(pid: int, store: Path, here: tuple[int, int] | None) -> bool:
    # A file that was removed or moved aside keeps the beginning of its name.
    former = re.compile(re.escape(str(store)) + r"(?!-wal|-shm)\S*( \(deleted\))?")
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if former.fullmatch(str(descriptor.readlink())) and _inode(descriptor) != here:
                    return True
    return False


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _pids() -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            yield int(entry.name)

"""The log of a program: written by the program itself, bounded by its supervisor.

The program writes straight to the file rather than through a pipe to the supervisor: a pipe would break, and with it
the program, when the supervisor dies. The file is therefore rotated by copying and truncating, which works because it
is opened for appending. Lines written between the last copy and the truncation, some microseconds, are lost.
"""

from __future__ import annotations

import os
from pathlib import Path

from deployer.core import files

LIMIT = 10 * 1024 * 1024


def open_for_child(path: Path) -> int:
    """Open the log for appending; makes its folder."""
    files.folder(path.parent)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)


def rotate(path: Path, limit: int = LIMIT) -> bool:
    """Move the content to PATH.1 once it is larger than `limit` bytes; return whether that happened."""
    try:
        if path.stat().st_size <= limit:
            return False
    except FileNotFoundError:
        return False
    import shutil

    temporary = path.with_name(f".{path.name}.1")
    with path.open("rb") as source, temporary.open("wb") as target:
        os.fchmod(target.fileno(), 0o600)
        shutil.copyfileobj(source, target)
        os.truncate(path, 0)
    temporary.rename(path.with_name(f"{path.name}.1"))
    return True


def tail(path: Path, lines: int, most: int = 256 * 1024) -> tuple[str, ...]:
    """Return the last lines, looking at no more than `most` bytes of the file and of the one before it."""
    found: list[str] = []
    for part in (path, path.with_name(f"{path.name}.1")):
        if len(found) >= lines:
            break
        found = [*_last_lines(part, most), *found]
    return tuple(found[-lines:]) if lines > 0 else ()


def _last_lines(path: Path, most: int) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            text = file.read(most).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return text.splitlines()

"""Small files that are replaced as a whole, and locks on files."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def replace(path: Path, text: str) -> None:
    """Write a file that only its owner can read, so that a reader sees all of the old or all of the new text."""
    # One name per writer: two that write at once must not share a half-written file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def open_lock(path: Path) -> int:
    """Open a lock file; the descriptor closes on exec."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(fd: int) -> bool:
    """Take the lock if it is free; it stays taken until every copy of the descriptor is closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True

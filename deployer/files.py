"""Files that are replaced as a whole and last: what is read is all of the old text or all of the new one."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

# A path that needs no quoting anywhere: in a proxy's configuration, its lists and maps, on its socket.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@+=:~-]*")


def replace(path: Path, text: str, mode: int = 0o600, *, lasting: bool = True) -> None:
    """Write a file: temporary file, fsync, rename, fsync of the folder. Raises OSError; the old text stands then.

    One that need not be `lasting` is whole for whoever reads it, but a power cut may take it.
    """
    # One name per writer: two that write at once must not share a half-written file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    if lasting:
        sync(path.parent)


def sync(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A private folder with a short path, for sockets, whose paths may not be long; in memory where that is possible."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from deployer.core.limits import SOCKET_PATH


def short_folder(room: int) -> Path:
    """Return a new folder in which paths of sockets have `room` more bytes; whoever asks for it removes it."""
    return Path(tempfile.mkdtemp(prefix="dp", dir=_base(SOCKET_PATH - room - len("/dp12345678"))))


def _base(longest: int) -> str:
    # Memory first: what a kill -9 leaves behind is then gone with the next boot.
    for candidate in (os.environ.get("XDG_RUNTIME_DIR", ""), "/dev/shm", tempfile.gettempdir()):  # noqa: S108
        if candidate and len(os.fsencode(candidate)) <= longest and os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    return "/tmp"  # noqa: S108 - mkdtemp makes a folder of our own in it

"""The state folder is its owner's alone: secrets, sockets that steer the proxy, and the journal lie in it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Refused
from deployer.store import damage

_OTHERS = 0o077


def private(folder: Path) -> None:
    """Make a state folder, or see that nobody else can enter it.

    A state folder that others may read is closed, and so is an empty one. Raise Refused for one that belongs to another
    user, that others may write to, or that holds something else: closing /tmp would be worse than not deploying. Raises
    OSError when it cannot be made.
    """
    if not folder.exists():
        files.folder(folder)
        return
    found = folder.stat()
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode):
        raise Refused(f"the state folder {folder} is not a folder", "name another one with --state")
    if os.geteuid() not in (found.st_uid, 0):
        raise Refused(
            f"the state folder {folder} belongs to another user (uid {found.st_uid})",
            "deploy as that user, or name another folder with --state",
        )
    if not mode & _OTHERS:
        return
    who = "write to" if mode & (stat.S_IWGRP | stat.S_IWOTH) else "read"
    ours = (folder / damage.NAME).exists() or any(damage.traces(folder))
    if who == "write to" or not (ours or next(folder.iterdir(), None) is None):
        raise Refused(
            f"other users may {who} the state folder {folder} (mode {mode:04o})",
            f"see who else wrote to it, then `chmod 700 {folder}`"
            if ours
            else f"name a folder of its own with --state, e.g. --state {folder / 'deployer'}",
        )
    folder.chmod(0o700)

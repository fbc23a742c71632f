"""A lock on a file as `deployer.core.filelock` takes it, without what that imports: both exclude each other."""

from __future__ import annotations

import fcntl
import os
import sys
import time

WHOLE = fcntl.F_WRLCK.to_bytes(2, sys.byteorder) + bytes(30)  # struct flock
PAUSE = 0.002  # seconds


def take(path: str, within: float, *, make: bool = False) -> int | None:
    """Return the descriptor that holds the lock until it is closed; None where that is not had within some seconds.

    Raise OSError where there is no file, unless it is to be made.
    """
    until = time.monotonic() + within
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
        try:
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, WHOLE)
            if stands(descriptor, path):
                return descriptor
        except BlockingIOError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if time.monotonic() >= until:
            return None
        time.sleep(PAUSE)


def stands(descriptor: int, path: str) -> bool:
    """Return whether what is held is the file that others would meet: it may have been removed meanwhile."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))  # noqa: PTH116 - pathlib costs
    except FileNotFoundError:
        return False

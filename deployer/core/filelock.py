"""Locks on files that end with whoever holds them, whatever ends him: SIGKILL, a power cut, a reboot.

They belong to the open file (fcntl(2), open file description locks), not to the process: two holders in one process
exclude each other, programs that the holder starts do not inherit them, and asking who holds one does not take it. The
kernel keeps them across containers that share the folder, whatever pids these see; no clock is asked.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.core import files
from deployer.core.errors import StoreFailed

_FLOCK = "hhqqi4x"  # struct flock: type, whence, start, length, pid


class FileLock:
    """One lock; the file stays when it is let go, as a path that others wait at must not change its file.

    It covers the byte `at`, which need not be there, else the whole file. Several may hold a `shared` one. Who only
    `reads` shares one of a file that is there: nothing is written, so that it can be on a disk that is read-only.
    """

    def __init__(self, path: Path, at: int | None = None, *, shared: bool = False, reads: bool = False) -> None:
        self.path = path
        self._reads, shared = reads, shared or reads
        self._flock = _flock(fcntl.F_RDLCK if shared else fcntl.F_WRLCK, *_range(at))
        self._fd: int | None = None

    def try_take(self) -> bool:
        """Take it if it is free; return whether it is held now. Raises OSError if the file cannot be made or locked."""
        if self._reads:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        else:
            files.folder(self.path.parent)
            fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, self._flock)
            if not self._is(fd):  # removed between opening and locking: a lock that nobody else would meet
                raise BlockingIOError
        except BlockingIOError:
            os.close(fd)
            return False
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return True

    def take(self, seconds: float) -> None:
        """Take it. Raises StoreFailed when it is not free within `seconds`."""
        end = time.monotonic() + seconds
        while not self.try_take():
            if time.monotonic() >= end:
                raise StoreFailed(
                    f"{self.path} has been held by another command for more than {seconds:g} s", "wait for it"
                )
            time.sleep(0.02)

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold it for the length of the block. Raises StoreFailed when it is not free within `seconds`."""
        self.take(seconds)
        try:
            yield
        finally:
            self.let_go()

    def write(self, text: str) -> None:
        """Write into the file that is held, for people. Raises OSError."""
        if self._fd is not None:
            os.pwrite(self._fd, text.encode("utf-8", "backslashreplace"), 0)
            os.ftruncate(self._fd, len(text.encode("utf-8", "backslashreplace")))

    def stands(self) -> bool:
        """Return whether it is held here, and on the file that others would meet."""
        return self._fd is not None and self._is(self._fd)

    def let_go(self) -> None:
        """Release it; one that is not held is no error."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _is(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self.path.stat())
        except FileNotFoundError:
            return False


def is_held(path: Path, at: int | None = None, below: int = 0) -> bool:
    """Return whether anybody alive holds a lock of a file; nothing is taken for that.

    Of any byte of the file; with `at`, of that one byte; with `below` too, of any from `at` to there.
    """
    start, length = _range(at)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        asked = _flock(fcntl.F_WRLCK, start, below - start if below else length)
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked)
    finally:
        os.close(fd)
    return int(struct.unpack(_FLOCK, answer)[0]) != fcntl.F_UNLCK


def _range(at: int | None) -> tuple[int, int]:
    return (0, 0) if at is None else (at, 1)  # a length of 0 reaches to the end, however far the file grows


def _flock(kind: int, start: int, length: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0)

"""Files and folders of ours: replaced as a whole and last, and private to their owner, whatever the umask."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# A path that needs no quoting anywhere: in a proxy's configuration, its lists and maps, on its socket.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./@+=:~-]*")
HALF = ".half-"


def replace(path: Path, text: str, mode: int = 0o600, *, lasting: bool = True) -> None:
    """Write a file: temporary file, fsync, rename, fsync of the folder. Raises OSError; the old text stands then.

    One that need not be `lasting` is whole for whoever reads it, but a power cut may take it.
    """
    with _written(path, text, mode, lasting=lasting) as temporary:
        temporary.rename(path)
    if lasting:
        sync(path.parent)


def first(path: Path, text: str, mode: int = 0o600) -> bool:
    """Write a file as `replace` does, unless there is one; return whether it was written. Raises OSError."""
    with _written(path, text, mode, lasting=True) as temporary:
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return False
    sync(path.parent)
    return True


@contextmanager
def _written(path: Path, text: str, mode: int, *, lasting: bool) -> Iterator[Path]:
    # One name per writer: two that write at once must not share a half-written file.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        with os.fdopen(new(temporary, mode), "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if lasting:
                os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def new(path: Path, mode: int = 0o600) -> int:
    """Make a file that must not be there, with exactly this mode; return a descriptor to write to. Raises OSError."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    os.fchmod(descriptor, mode)
    return descriptor


def folder(path: Path, mode: int = 0o700) -> None:
    """Make a folder, and those above it that are missing, with exactly this mode; one that is there stays as it is.

    Raises OSError: FileNotFoundError when somebody removes it meanwhile.
    """
    for missing in reversed([place for place in (path, *path.parents) if not place.exists()]):
        try:
            missing.mkdir(mode)
        except FileExistsError:  # another process was faster
            continue
        missing.chmod(mode)
    if not stat.S_ISDIR(path.stat().st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


@contextmanager
def half_made(where: Path) -> Iterator[Path]:
    """Make a new folder in another one, to be filled and then renamed: what is not is removed. Raises OSError.

    Its name begins with `HALF`: what a maker left that was killed is removed by the next one.
    """
    import shutil
    import tempfile

    half = Path(tempfile.mkdtemp(prefix=HALF, dir=where))
    try:
        yield half
    finally:
        shutil.rmtree(half, ignore_errors=True)


def sync(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

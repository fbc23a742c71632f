"""One command at a time works on the data of services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.core import files
from deployer.core.clock import Deadline
from deployer.core.filelock import FileLock

LOCK_SECONDS = 600.0  # another command may be copying a large volume


@contextmanager
def alone(folder: Path, deadline: Deadline) -> Iterator[None]:
    """Keep other commands of a state folder from data, by a lock in its `folder`. Raise StoreFailed if one goes on."""
    files.folder(folder)
    with FileLock(folder / ".lock").held(min(LOCK_SECONDS, deadline.left())):
        yield

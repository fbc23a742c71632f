"""Who looks after services between rollouts: what has to be done again and again is somebody's duty, or nobody's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployer.core.filelock import FileLock, is_held
from deployer.store import Store


@dataclass(frozen=True)
class Duty:
    """Something that has to be done again and again; `recent`: a timer that came within so many seconds comes again."""

    name: str
    recent: float = 0.0


JOBS = Duty("jobs.scheduler", 900.0)
CERTIFICATES = Duty("certificates.renewals", 36 * 3600.0)  # a timer comes twice a day
KEEPER = Duty("keeper")


@contextmanager
def announced(store: Store, duty: Duty) -> Iterator[None]:
    """Let others see, for the length of the block and a while after it, that a duty is attended to."""
    lock = FileLock(file_of(store.folder, duty), shared=True)
    lock.try_take()
    os.utime(lock.path, (store.clock.now(), store.clock.now()))
    try:
        yield
    finally:
        lock.let_go()


def is_attended(store: Store, duty: Duty) -> bool:
    """Return whether a server attends to a duty, or a timer did so lately."""
    path = file_of(store.folder, duty)
    try:
        recent = bool(duty.recent) and store.clock.now() - path.stat().st_mtime < duty.recent
    except FileNotFoundError:
        return False
    return recent or is_held(path)


def file_of(state: Path, duty: Duty) -> Path:
    """Return the file whose lock is held by who attends to a duty."""
    return state / "locks" / duty.name

"""Who looks after services between rollouts: what has to be done again and again is somebody's duty, or nobody's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from deployer.core import files
from deployer.store import Store


@dataclass(frozen=True)
class Duty:
    """Something that has to be done again and again; `recent`: a timer that came within so many seconds comes again."""

    name: str
    recent: float = 0.0

    @property
    def claim(self) -> str:
        """Name the claim of who attends to it, and the file that tells when a timer did so."""
        return f"locks/{self.name}"


JOBS = Duty("jobs.scheduler", 900.0)
CERTIFICATES = Duty("certificates.renewals", 36 * 3600.0)  # a timer comes twice a day
KEEPER = Duty("keeper")


@contextmanager
def announced(store: Store, duty: Duty) -> Iterator[None]:
    """Let others see, for the length of the block and a while after it, that a duty is attended to."""
    claim, path, now = store.claims.claim(duty.claim, shared=True), store.folder / duty.claim, store.clock.now()
    claim.try_take()
    files.folder(path.parent)
    path.touch(mode=0o600)
    os.utime(path, (now, now))
    try:
        yield
    finally:
        claim.let_go()


class Attendance:
    """A duty that is attended to from its first look until it ends."""

    def __init__(self, duty: Duty) -> None:
        self._duty, self._held, self._begun = duty, ExitStack(), False

    def begin(self, store: Store) -> None:
        """Let others see it, from the first call on."""
        if not self._begun:
            self._held.enter_context(announced(store, self._duty))
            self._begun = True

    def end(self) -> None:
        """Attend to it no more."""
        self._held.close()


def is_attended(store: Store, duty: Duty) -> bool:
    """Return whether a server attends to a duty, or a timer of this host did so lately."""
    with suppress(FileNotFoundError):
        if duty.recent and store.clock.now() - (store.folder / duty.claim).stat().st_mtime < duty.recent:
            return True
    return store.claims.is_held(duty.claim)

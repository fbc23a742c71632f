"""The heartbeat of an owner: it is sent as long as the lock is held, however long other work takes."""

from __future__ import annotations

import threading
from collections.abc import Callable

from deployer.core.background import BackgroundThread
from deployer.core.errors import DeployError, LockLost, bug
from deployer.core.said_once import SaidOnce
from deployer.core.secret import hide
from deployer.store.locks import BEAT_SECONDS, Locks
from deployer.store.owner import Lock


class Heartbeat(BackgroundThread):
    """A thread that beats while it is open, four times a lease; trouble is told once, until a beat works again."""

    def __init__(self, locks: Locks, lock: Lock, tell: Callable[[str], None]) -> None:
        self._locks, self._lock, self._tell = locks, lock, tell
        super().__init__("heart", self._beat, patience=15)  # a beat may wait for another writer of the store

    def _beat(self, over: threading.Event) -> None:
        said = SaidOnce[str]()
        while not over.wait(BEAT_SECONDS):
            try:
                self._locks.renew(self._lock)
                said.settle("")
            except LockLost:
                return  # who acts by the lock finds out with its next change, write or look
            except Exception as error:  # noqa: BLE001 - after a bug, too, the owner of the lock is alive
                why = error.message if isinstance(error, DeployError) else bug(error)
                if said.is_new("", why):
                    self._tell(f"no sign of life could be given, trying again: {hide(why)}")

"""The heart of an owner: it gives signs of life as long as the lock is held, whatever else takes its time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from deployer.core.errors import DeployError, LockLost
from deployer.store.locks import BEAT_SECONDS, Locks
from deployer.store.owner import Lock


class Heartbeat:
    """A thread that beats while it is open, four times a lease; trouble is told once, and the next beat tried."""

    def __init__(self, locks: Locks, lock: Lock, tell: Callable[[str], None]) -> None:
        self._locks, self._lock, self._tell = locks, lock, tell
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="heart", daemon=True)

    def _loop(self) -> None:
        told = False
        while not self._end.wait(BEAT_SECONDS):
            try:
                self._locks.renew(self._lock)
            except LockLost:
                return  # who acts by the lock finds out with its next change, write or look
            except DeployError as error:
                if not told:
                    self._tell(f"no sign of life could be given, trying again: {error.message}")
                told = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=15)  # a beat may wait for another writer of the store

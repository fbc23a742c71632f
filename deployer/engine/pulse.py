"""The pulse of a living deployer: it renews the lock and the lease of the share while the engine works."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from deployer.engine.run import Run
from deployer.errors import DeployError, LockLost, TakenBack
from deployer.store.locks import LEASE_SECONDS


def beat(run: Run) -> None:
    """Renew once. A lost lock is remembered for the engine's next fence; other trouble is told and tried again."""
    try:
        run.store.locks.renew(run.lock)
        run.renew_lease()
    except LockLost as lost:
        run.lost = lost
    except TakenBack:
        return  # the engine's next look stands down
    except DeployError as error:
        run.tell("note", text=f"renewing the lock and the lease failed, trying again: {error}")


class Pulse:
    """A thread that beats often enough for the shorter of lock and lease."""

    def __init__(self, run: Run) -> None:
        self._run = run
        lease = run.candidate.manifest.traffic.lease or LEASE_SECONDS
        self._period = min(lease, LEASE_SECONDS) / 4
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="pulse", daemon=True)

    def _loop(self) -> None:
        while not self._end.wait(self._period) and self._run.lost is None:
            beat(self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=10)

"""The pulse of a living rollout: it renews the lease of the share while the engine works."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from deployer.core.errors import DeployError, LockLost, TakenBack
from deployer.engine.run import Drive

LONGEST_SECONDS = 30.0  # a longer lease is renewed as often as one of this


def beat(run: Drive) -> None:
    """Renew once. Trouble is told and tried again."""
    try:
        run.traffic.renew_lease()
        run.proxies.report()
    except (LockLost, TakenBack):
        return  # the engine's next look stands down
    except DeployError as error:
        run.tell_at_least("note", text=f"renewing the lease failed, trying again: {error}")


class LeaseRenewer:
    """A thread that beats often enough for the lease; where there is none, for the budget."""

    def __init__(self, run: Drive) -> None:
        self._run = run
        lease = run.candidate.manifest.traffic.lease or LONGEST_SECONDS
        self._period = min(lease, LONGEST_SECONDS) / 4
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="pulse", daemon=True)

    def _loop(self) -> None:
        while not self._end.wait(self._period):
            beat(self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=10)

"""The pulse of a living rollout: it renews the lease of the share while the engine works."""

from __future__ import annotations

from deployer.core.background import BackgroundThread, every
from deployer.core.errors import DeployError, LockLost, TakenBack, bug
from deployer.core.said_once import SaidOnce
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


class LeaseRenewer(BackgroundThread):
    """A thread that beats often enough for the lease; where there is none, for the budget."""

    def __init__(self, run: Drive) -> None:
        self._drive, self._said = run, SaidOnce[str]()
        lease = run.candidate.manifest.traffic.lease or LONGEST_SECONDS
        super().__init__("pulse", every(min(lease, LONGEST_SECONDS) / 4, self._beat), patience=10)

    def _beat(self) -> None:
        try:
            beat(self._drive)
            self._said.settle("")
        except Exception as error:  # noqa: BLE001 - after a bug, too, the share of a living rollout is renewed
            text = bug(error)
            if self._said.is_new("", text):
                self._drive.tell_at_least("note", text=f"renewing the lease failed, trying again: {text}")

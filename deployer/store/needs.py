"""The table of needs: how many instances the load of a service needs, as a keeper saw it last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.store.database import Database
from deployer.store.fence import check
from deployer.store.owner import Lock

if TYPE_CHECKING:
    from deployer.store.rare_records import Need

NEEDED = "coalesce((select instances from needs where needs.service = releases.service), 0)"


class Needs:
    """Reads and writes what the load needs; it counts where the manifest has `scale` and no person says otherwise."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def get(self, service: str) -> Need | None:
        """Return what is needed; None where that was never seen."""
        rows = self._database.rows("select * from needs where service = ?", service)
        if not rows:
            return None
        from deployer.store.rare_records import Need

        return Need(**dict(rows[0]))

    def set(self, lock: Lock, instances: int, why: str) -> None:
        """Record how many instances are needed on all hosts together, and why."""
        with self._database.transaction() as db:
            check(db, lock)
            values = (lock.service, instances, why, self._clock.now())
            db.execute("delete from needs where service = ?", (lock.service,))
            db.execute("insert into needs values (?, ?, ?, ?)", values)

"""The table of concurrencies: how many requests at once an instance answers well, as a keeper learned it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.store.database import Database
from deployer.store.fence import check
from deployer.store.owner import Lock

if TYPE_CHECKING:
    from deployer.store.rare_records import Concurrency

LEARNED = "coalesce((select requests from concurrencies where concurrencies.service = releases.service), 0)"


class Concurrencies:
    """Reads and writes what was learned; it counts where the manifest has `scale.concurrency: auto`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    def get(self, service: str) -> Concurrency | None:
        """Return what was learned of a service; None for nothing."""
        rows = self._database.rows("select * from concurrencies where service = ?", service)
        if not rows:
            return None
        from deployer.store.rare_records import Concurrency

        return Concurrency(**dict(rows[0]))

    def set(self, lock: Lock, requests: int, why: str) -> None:
        """Record how many requests at once an instance answers well, and why."""
        with self._database.transaction() as db:
            check(db, lock)
            values = (lock.service, requests, why, self._clock.now())
            db.execute("delete from concurrencies where service = ?", (lock.service,))
            db.execute("insert into concurrencies values (?, ?, ?, ?)", values)

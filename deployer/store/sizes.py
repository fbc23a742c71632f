"""The table of sizes: how many instances a person wants of a service, until they take it back or it expires."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Database
from deployer.store.fence import check
from deployer.store.owner import Lock

if TYPE_CHECKING:
    from deployer.store.rare_records import Size

SCALED = (
    "coalesce((select instances from sizes where sizes.service = releases.service and (until = 0 or until > ?)), 0)"
)


class Sizes:
    """Reads and writes what people asked for."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database, self._clock, self._audit = database, clock, audit

    def get(self, service: str) -> Size | None:
        """Return the size that a person wants now; None where nobody asked for one, or its time is over."""
        rows = self._database.rows("select * from sizes where service = ?", service)
        if not rows:
            return None
        from deployer.store.rare_records import Size

        found = Size(**dict(rows[0]))
        return found if not found.until or found.until > self._clock.now() else None

    def set(self, lock: Lock, instances: int, until: float, reason: str) -> None:
        """Record how many instances on each host are wanted, and until when; 0 is for ever."""
        with self._database.transaction() as db:
            check(db, lock)
            values = (lock.service, instances, until, self._audit.actor.by, reason, self._clock.now())
            db.execute("delete from sizes where service = ?", (lock.service,))
            db.execute("insert into sizes values (?, ?, ?, ?, ?, ?)", values)
            detail = f"{instances} on each host"
            self._audit.add(db, AuditEntry("scale", lock.service, detail=detail, reason=reason))

    def clear(self, lock: Lock, reason: str) -> None:
        """Forget what a person asked for: the manifest says it again."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute("delete from sizes where service = ?", (lock.service,))
            self._audit.add(db, AuditEntry("scale", lock.service, detail="as the manifest says", reason=reason))

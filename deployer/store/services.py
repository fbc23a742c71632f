"""The table of services: which release users have, and which environment is kept ready for a way back."""

from __future__ import annotations

from deployer.model import Colour
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Database
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.records import ServiceRecord


class Services:
    """Reads services, and writes what is kept warm; what is live is written with the rollout that promotes it."""

    def __init__(self, database: Database, audit: Audit) -> None:
        self._database, self._audit = database, audit

    def all(self) -> tuple[ServiceRecord, ...]:
        """Return all services that were ever deployed."""
        return tuple(ServiceRecord(**dict(row)) for row in self._database.rows("select * from services order by name"))

    def get(self, name: str) -> ServiceRecord:
        """Return a service; a blank one when it is new."""
        rows = self._database.rows("select * from services where name = ?", name)
        return ServiceRecord(**dict(rows[0])) if rows else ServiceRecord(name)

    def set_warm(self, lock: Lock, release: int, colour: Colour, until: float) -> None:
        """Remember which environment is kept ready, and until when."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute(
                "update services set warm = ?, warm_colour = ?, warm_until = ? where name = ?",
                (release, colour, until, lock.service),
            )

    def clear_warm(self, lock: Lock) -> None:
        """Forget the warm environment: it is gone."""
        self.set_warm(lock, 0, "blue", 0.0)

    def contracting(self, lock: Lock, release: int) -> None:
        """Remember that the contract of a release begins, before anything of it is run."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute("update services set contracted = ? where name = ?", (release, lock.service))

    def taken_down(self, lock: Lock, detail: str = "", reason: str = "") -> None:
        """Remember that nothing of the service runs any more; `detail` says what was removed."""
        with self._database.transaction() as db:
            check(db, lock)
            self._audit.add(db, AuditEntry("down", lock.service, detail=detail, reason=reason))
            db.execute("delete from sizes where service = ?", (lock.service,))
            db.execute("delete from needs where service = ?", (lock.service,))
            db.execute("delete from concurrencies where service = ?", (lock.service,))
            db.execute("update services set stable = 0, warm = 0, warm_until = 0 where name = ?", (lock.service,))

"""The table of control requests: what people want of a rollout in progress, for the process that drives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import Clock
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Connection, Database, Row
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.records import PROMOTIONS, Rollout

if TYPE_CHECKING:
    from deployer.store.rare_records import ControlRequest


class ControlRequests:
    """Leaves requests and reads them; one that was taken is not read again."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database, self._clock, self._audit = database, clock, audit

    def add(
        self, rollout: Rollout, kind: str, by: str, reason: str, lock: Lock | None = None, *, detail: str = ""
    ) -> None:
        """Leave a request for the process that drives the rollout; with a lock, for this one, which begins to."""
        action = "promote" if kind == "force" else kind
        with self._database.transaction() as db:
            if lock is not None:
                check(db, lock)
            db.execute(
                "insert into control_requests (rollout, kind, by, reason, at) values (?, ?, ?, ?, ?)",
                (rollout.number, kind, by, reason, self._clock.now()),
            )
            result = "begun" if lock else "asked"
            self._audit.add(db, AuditEntry.of(rollout, action, result, by=by, reason=reason, detail=detail))

    def next(self, rollout: int) -> ControlRequest | None:
        """Return the request that counts among those that nobody took: an abort, else the newest."""
        rows = self._database.rows(
            "select * from control_requests where rollout = ? and taken_at is null"
            " order by kind = 'abort' desc, id desc limit 1",
            rollout,
        )
        return _request(rows[0]) if rows else None

    def take(self, lock: Lock, request: ControlRequest) -> None:
        """Mark a request as taken, and the older ones that it makes void."""
        with self._database.transaction() as db:
            check(db, lock)
            take_request(db, self._clock, request)

    def promotion(self, rollout: int) -> ControlRequest | None:
        """Return the request to promote, when it is the last one that was taken: it holds for the next process, too."""
        rows = self._database.rows(
            "select * from control_requests where rollout = ? and taken_at is not null order by id desc limit 1",
            rollout,
        )
        return _request(rows[0]) if rows and rows[0]["kind"] in PROMOTIONS else None


def take_request(db: Connection, clock: Clock, request: ControlRequest | None) -> None:
    """Mark a request as taken, if there is one, in the transaction of the caller."""
    if request is not None:
        db.execute(
            "update control_requests set taken_at = ? where taken_at is null and id <= ?"
            " and rollout = (select rollout from control_requests where id = ?)",
            (clock.now(), request.id, request.id),
        )


def _request(row: Row) -> ControlRequest:
    from deployer.store.rare_records import ControlRequest

    return ControlRequest(row["id"], row["kind"], row["by"], row["reason"])

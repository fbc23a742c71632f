"""Approvals: what people said at a gate that waits for them; the same person counts once."""

from __future__ import annotations

from deployer.core.clock import Clock
from deployer.core.errors import Refused
from deployer.core.events import Event
from deployer.core.secret import hide_in
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Database
from deployer.store.events import add_event
from deployer.store.rare_records import Vote
from deployer.store.records import Rollout

_WAITS = (
    "select 1 from journal j join rollouts r on r.number = j.rollout where j.rollout = ? and j.phase = 'forward'"
    " and j.n = ? and j.state = 'begun' and j.until = ? and j.until > ? and r.phase = 'forward'"
)


class Approvals:
    """Records votes. They are no writes of the rollout's owner: the process that runs it reads them."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database, self._clock, self._audit = database, clock, audit

    def speak(self, rollout: Rollout, n: int, until: float, voice: Vote, text: str) -> Event:
        """Record what a person said at a gate, its event and its line in the audit log, in one transaction.

        Who said the other thing before has changed their mind. Raises Refused when the gate does not wait any more, or
        when it is what they said before.
        """
        key = (rollout.number, n, until, voice.person.casefold())
        with self._database.transaction() as db:
            if db.execute(_WAITS, (rollout.number, n, until, self._clock.now())).fetchone() is None:
                raise Refused(f"rollout {rollout.number} does not wait for it any more", "see `deploy status`")
            said = db.execute(
                "select refused from approvals where rollout = ? and n = ? and until = ? and person = ?", key
            ).fetchone()
            if said is not None and bool(said["refused"]) == voice.refused:
                what = "refused" if voice.refused else "approved"
                raise Refused(f"{voice.person} has {what} it already: the same person counts once", "ask somebody else")
            told = {"n": n, "by": voice.by, "role": voice.role, "reason": voice.reason, "text": text}
            kind = "approval.refused" if voice.refused else "approval.given"
            event = add_event(db, Event(kind, voice.at, rollout.service, rollout.number, hide_in(told)))
            db.execute("delete from approvals where rollout = ? and n = ? and until = ? and person = ?", key)
            db.execute(
                "insert into approvals (rollout, n, until, person, by, role, refused, reason, at, event)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*key, voice.by, voice.role, int(voice.refused), voice.reason, voice.at, event.id),
            )
            self._audit.add(db, _deed(rollout, n, voice))
        return event

    def at(self, rollout: int, n: int, until: float) -> tuple[Vote, ...]:
        """Read what people said at a gate in the wait that ends at that time, in their order."""
        with self._database.reading() as db:
            rows = db.execute(
                "select by, role, refused, reason, at, event from approvals"
                " where rollout = ? and n = ? and until = ? order by id",
                (rollout, n, until),
            ).fetchall()
        return tuple(Vote(**{**dict(row), "refused": bool(row["refused"])}) for row in rows)


def _deed(rollout: Rollout, n: int, voice: Vote) -> AuditEntry:
    result, step = "refused" if voice.refused else "given", rollout.plan.forward[n].explain()
    return AuditEntry.of(rollout, "approve", result, by=voice.by, reason=voice.reason, detail=step)

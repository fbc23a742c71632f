"""The table of rollouts: how each begins, where it turns, what holds it, and how it ends.

Every write is one transaction behind the fence, together with what becomes of the release, the journal and the requests
of people by it: a crash leaves all of it or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock
from deployer.core.errors import Aborted, DeployError, Refused
from deployer.planning.orders import RolloutResult
from deployer.store.actor import DEPLOYER
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Connection, Database, Duplicate
from deployer.store.events import forget_events
from deployer.store.fence import check
from deployer.store.journal import end_step
from deployer.store.owed import owe
from deployer.store.owner import Lock
from deployer.store.records import Rollout, read_rollout
from deployer.store.releases import set_status, what_is_brought
from deployer.store.requests import take_request
from deployer.store.set_turn import is_last, turn_back

if TYPE_CHECKING:
    from deployer.planning.plan import Plan
    from deployer.store.rare_records import ControlRequest, RolloutTimes


class Rollouts:
    """Reads rollouts, and writes what becomes of them."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database, self._clock, self._audit = database, clock, audit

    def get(self, number: int) -> Rollout:
        """Return a rollout. Raise Refused when there is none of that number, and for a plan of another version."""
        if not (rows := self._database.rows("select * from rollouts where number = ?", number)):
            raise Refused(f"there is no rollout {number}", "`deploy history` lists them")
        return read_rollout(rows[0]).checked()

    def in_progress(self, service: str) -> Rollout | None:
        """Return the rollout in progress of a service. Raise Refused for a plan of another version."""
        rows = self._database.rows("select * from rollouts where service = ? and ended_at is null", service)
        return read_rollout(rows[0]).checked() if rows else None

    def of(self, service: str, limit: int = 50, *, adjustments: bool = False) -> tuple[Rollout, ...]:
        """Return the rollouts of a service, the newest first; `adjustments`: also those between them."""
        which = "" if adjustments else " and origin != release"
        query = f"select * from rollouts where service = ?{which} order by number desc limit ?"  # noqa: S608 - a constant
        return tuple(read_rollout(row) for row in self._database.rows(query, service, limit))

    def of_release(self, service: str, release: int, occasion: str) -> tuple[Rollout, ...]:
        """Return the rollouts to a release and its adjustments of one occasion, the newest first."""
        query = "select * from rollouts where service = ? and release = ? and (origin != release or strategy = ?)"
        return tuple(
            map(read_rollout, self._database.rows(f"{query} order by number desc", service, release, occasion))
        )

    def newest_done(self, service: str, occasions: Collection[str]) -> Rollout | None:
        """Return the newest rollout that was done: one to another release, or an adjustment of these occasions."""
        marks = ", ".join("?" * len(occasions))
        query = (  # only marks are put in
            "select * from rollouts where service = ? and outcome = 'done'"  # noqa: S608
            f" and (origin != release or strategy in ({marks})) order by number desc limit 1"
        )
        rows = self._database.rows(query, service, *occasions)
        return read_rollout(rows[0]) if rows else None

    def times(self, after: int = 0, besides: Collection[int] = ()) -> tuple[RolloutTimes, ...]:
        """Return how the rollouts went whose number is above `after`, or among `besides`."""
        among = f" or number in ({', '.join('?' * len(besides))})" if besides else ""
        query = (  # only marks are put in
            "select number, service, strategy, outcome, exit, ended_at is not null as ended,"  # noqa: S608
            " case when ended_at > started_at then ended_at - started_at else 0.0 end as seconds,"
            " case when ended_at is not null then (select coalesce(sum("
            "  case when j.ended_at > j.began_at then j.ended_at - j.began_at else 0.0 end), 0.0)"
            "  from journal j where j.rollout = number"
            "  and json_extract(plan, '$.' || j.phase || '[' || j.n || '].kind') not in ('watch', 'approve', 'meet')"
            f" ) else 0.0 end as worked from rollouts where number > ?{among} order by number"
        )
        rows = self._database.rows(query, after, *besides)
        from deployer.store.rare_records import RolloutTimes

        return tuple(RolloutTimes(**{**dict(row), "ended": bool(row["ended"])}) for row in rows)

    # -- the beginning

    def begin(self, lock: Lock, plan: Plan, folder: Path, by: str, message: str) -> Rollout:
        """Record a rollout before its first step. Raise Refused when another one of the service is open."""
        with self._database.transaction() as db:
            check(db, lock)
            number = self.add(db, plan, folder, by, message)
        return self.get(number)

    def begin_moved(self, lock: Lock, plan: Plan, folder: Path, by: str, message: str) -> Rollout:
        """Record a rollout whose users were moved before it was recorded: it begins behind its commit point.

        Raise Refused when another one of the service is open.
        """
        with self._database.transaction() as db:
            check(db, lock)
            number = self.add(db, plan, folder, by, message)
            now = self._clock.now()
            steps = ((number, n, now, now, json.dumps({"moved": "before"})) for n in range(plan.commit + 1))
            db.executemany(
                "insert into journal (rollout, phase, n, state, began_at, ended_at, detail)"
                " values (?, 'forward', ?, 'done', ?, ?, ?)",
                steps,
            )
            _promote(db, plan)
            self._audit.add(db, AuditEntry("promote", plan.service, "done", number, plan.release, by=by))
        return self.get(number)

    def add(self, db: Connection, plan: Plan, folder: Path, by: str, message: str) -> int:
        """Add a rollout in the transaction of the caller; return its number. Raise Refused beside one in progress."""
        what = (plan.service, plan.strategy, plan.origin, plan.release, plan.to_json())
        try:
            number = db.insert(
                "insert into rollouts (service, strategy, origin, release, plan, folder, started_at, started_by,"
                " message) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (*what, str(folder), self._clock.now(), by, message),
                key="number",
            )
        except Duplicate:
            raise Refused(f"{plan.service} has a rollout in progress", "see `deploy status`") from None
        action = plan.strategy if plan.strategy == "rollback" or plan.adjusts else "start"
        brought = what_is_brought(db, plan)
        self._audit.add(db, AuditEntry(action, plan.service, "begun", number, plan.release, brought, message, by))
        return number

    # -- on the way

    def approved(self, lock: Lock, rollout: int, n: int, detail: dict[str, Any], deed: AuditEntry | None) -> None:
        """Write that a person approved, and that the rollout is held no longer, in one transaction."""
        with self._database.transaction() as db:
            check(db, lock)
            end_step(db, self._clock, (rollout, "forward", n), "done", detail)
            db.execute("update rollouts set outcome = '', exit = 0, text = '' where number = ?", (rollout,))
            if deed is not None:
                self._audit.add(db, deed)

    def promoted(self, lock: Lock, rollout: Rollout, n: int, detail: dict[str, Any], by: str = DEPLOYER) -> None:
        """Write the commit point: step done, release live, standings settled, in one transaction."""
        with self._database.transaction() as db:
            check(db, lock)
            end_step(db, self._clock, (rollout.number, "forward", n), "done", detail)
            _promote(db, rollout.plan)
            self._audit.add(db, AuditEntry.of(rollout, "promote", "done", by=by))

    def turned_back(
        self, lock: Lock, rollout: Rollout, n: int, error: DeployError, heard: ControlRequest | None = None
    ) -> None:
        """Write a failed step, the turn of rollout and set, and the request it comes of: all, or raise GoesForward."""
        with self._database.transaction() as db:
            check(db, lock)
            turn_back(db, rollout, error)
            take_request(db, self._clock, heard)
            # An abort may come before the step has begun: the cause is kept all the same, a way back may get stuck.
            detail = {"error": error.message, "hint": error.hint, "exit": int(error.exit)}
            db.execute(
                "insert into journal (rollout, phase, n, state, began_at) values (?, 'forward', ?, 'begun', ?)"
                " on conflict do nothing",
                (rollout.number, n, self._clock.now()),
            )
            end_step(db, self._clock, (rollout.number, "forward", n), "failed", detail)
            db.execute(
                "update rollouts set phase = 'back', exit = ?, text = ? where number = ?",
                (int(error.exit), error.message, rollout.number),
            )
            by = error.by if isinstance(error, Aborted) else DEPLOYER
            what = "roll back" if by == DEPLOYER else "abort"
            self._audit.add(db, AuditEntry.of(rollout, what, "begun", by=by, reason=error.message))

    # -- holds and endings

    def paused(
        self,
        lock: Lock,
        rollout: Rollout,
        result: RolloutResult,
        by: str = DEPLOYER,
        heard: ControlRequest | None = None,
        again: int | None = None,
    ) -> bool:
        """Write that the rollout waits for a person, and take the request that it comes of; it stays open.

        The wait of the step `again` is over: it begins again when somebody resumes. Return `is_last`.
        """
        with self._database.transaction() as db:
            check(db, lock)
            take_request(db, self._clock, heard)
            _set_result(db, result)
            db.execute(
                "update journal set until = 0 where rollout = ? and phase = 'forward' and n = ?",
                (rollout.number, -1 if again is None else again),
            )
            action = "hold" if by == DEPLOYER else "pause"
            self._audit.add(db, AuditEntry.of(rollout, action, "paused", by=by, reason=result.text))
            return is_last(db, rollout.number)

    def needs_attention(self, lock: Lock, rollout: Rollout, result: RolloutResult) -> bool:
        """Write that the rollout needs a person; it stays open, so that `resume` can try again. Return `is_last`."""
        with self._database.transaction() as db:
            check(db, lock)
            _set_result(db, result)
            self._audit.add(db, AuditEntry.of(rollout, "end", result.outcome, by=DEPLOYER, reason=result.text))
            return is_last(db, rollout.number)

    def ended(self, lock: Lock, rollout: Rollout, result: RolloutResult, *, events: int, owed: bool = False) -> bool:
        """Write the end of a rollout; `owed` where people elsewhere are to be told of it.

        Of so many finished ones of the service, this one included, `events` are kept. Return `is_last`.
        """
        with self._database.transaction() as db:
            check(db, lock)
            _set_result(db, result, ended_at=self._clock.now())
            if owed:
                owe(db, rollout.number)
            if result.outcome == "reverted":
                # A release that was good before and could not be brought back has not become bad by that.
                db.execute(
                    "update releases set status = 'failed' where service = ? and number = ? and status = 'new'",
                    (rollout.service, rollout.release),
                )
            self._audit.add(db, AuditEntry.of(rollout, "end", result.outcome, by=DEPLOYER, reason=result.text))
            forget_events(db, rollout.service, events)
            return is_last(db, rollout.number)


def _set_result(db: Connection, result: RolloutResult, ended_at: float | None = None) -> None:
    db.execute(
        "update rollouts set outcome = ?, exit = ?, text = ?, ended_at = ? where number = ?",
        (result.outcome, int(result.exit), result.text, ended_at, result.rollout),
    )


def _promote(db: Connection, plan: Plan) -> None:
    db.execute(
        "update services set stable = ?, warm = 0, warm_colour = '', warm_until = 0 where name = ?",
        (plan.release, plan.service),
    )
    set_status(db, plan.service, plan.release, "good")
    if plan.strategy == "rollback" and plan.origin:
        set_status(db, plan.service, plan.origin, "rolled-back")

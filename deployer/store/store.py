"""The store: releases, rollouts, journal, events, asks, ports. Every write of a rollout is fenced by its lock."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock
from deployer.core.errors import Aborted, DeployError, Exit, Refused
from deployer.core.events import PASSING, Event
from deployer.model import Colour, Outcome, Phase, Release, Signature
from deployer.store import damage
from deployer.store.actor import DEPLOYER, Actor
from deployer.store.approvals import Approvals, add_event
from deployer.store.audit import Audit, AuditEntry
from deployer.store.audit_chain import AuditLog
from deployer.store.database import Database
from deployer.store.locks import Locks, check, whoami
from deployer.store.owed import Owed, owe
from deployer.store.owner import Lock
from deployer.store.records import (
    PROMOTIONS,
    ControlRequest,
    JournalEntry,
    Port,
    Rollout,
    RolloutTimes,
    ServiceRecord,
    read_entry,
    read_release,
    read_rollout,
)

if TYPE_CHECKING:
    from deployer.planning.plan import Plan


class Store:
    """Everything that must survive this process.

    `anew` makes a store also in a folder in which there was one. `file` is where it lies while it is being made in
    another place, for `deploy adopt`.
    """

    def __init__(self, folder: Path, clock: Clock, *, anew: bool = False, file: Path | None = None) -> None:
        self.folder = folder
        self.clock = clock
        self.database = Database(file or folder / damage.NAME, anew=anew)
        self._identity = self.secret("installation")
        self.audit = Audit(clock, Actor.here(whoami()))
        self.audit_log = AuditLog(self.database)
        self.approvals = Approvals(self.database, clock, self.audit)
        self.locks = Locks(self.database, clock, self.audit, folder / "locks")
        self.owed = Owed(self.database, folder)

    def close(self) -> None:
        """Give up what this process holds, and close the connection."""
        self.locks.close()
        self.database.close()

    # -- identity

    def secret(self, name: str) -> str:
        """Give a random value that belongs to this state folder, made when first asked for."""
        with self.database.transaction() as db:
            db.execute("insert or ignore into meta values (?, ?)", (name, os.urandom(16).hex()))
            return str(db.execute("select value from meta where key = ?", (name,)).fetchone()["value"])

    # -- the audit log

    def record(self, deed: AuditEntry, lock: Lock | None = None) -> None:
        """Record a deed that changes nothing here, or whose change is elsewhere; behind the fence, if there is one."""
        with self.database.transaction() as db:
            if lock is not None:
                check(db, lock)
            self.audit.add(db, deed)

    # -- services and releases

    def services(self) -> tuple[ServiceRecord, ...]:
        """Read all services that were ever deployed."""
        return tuple(ServiceRecord(**dict(r)) for r in self._all("select * from services order by name"))

    def service(self, name: str) -> ServiceRecord:
        """Read a service; a blank one when it is new."""
        rows = self._all("select * from services where name = ?", name)
        return ServiceRecord(**dict(rows[0])) if rows else ServiceRecord(name)

    def add_release(self, lock: Lock, draft: Release) -> Release:
        """Record a release under the next number of its service."""
        with self.database.transaction() as db:
            check(db, lock)
            release = replace(draft, number=_next_release(db, draft.service), created_at=self.clock.now())
            db.execute("insert or ignore into services (name) values (?)", (draft.service,))
            add_release_row(db, release)
        return release

    def next_release(self, service: str) -> int:
        """Give the number that the next release of a service will have."""
        with self.database.reading() as db:
            return _next_release(db, service)

    def release(self, service: str, number: int) -> Release:
        """Read a release. Raises Refused when there is no such number."""
        rows = self._all("select * from releases where service = ? and number = ?", service, number)
        if not rows:
            raise Refused(f"{service} has no release r{number}", "`deploy history --releases` lists them")
        return read_release(rows[0])

    def releases(self, service: str) -> tuple[Release, ...]:
        """Read all releases of a service, the newest first."""
        rows = self._all("select * from releases where service = ? order by number desc", service)
        return tuple(read_release(r) for r in rows)

    # -- rollouts

    def begin(self, lock: Lock, plan: Plan, folder: Path, by: str, message: str) -> Rollout:
        """Record a rollout before its first step. Raises Refused when another one of the service is open."""
        with self.database.transaction() as db:
            check(db, lock)
            number = self._begin(db, plan, folder, by, message)
        return self.rollout(number)

    def moved(self, lock: Lock, plan: Plan, folder: Path, by: str, message: str) -> Rollout:
        """Record a rollout whose users were moved before it was recorded: it begins behind its commit point.

        Raises Refused when another one of the service is open.
        """
        with self.database.transaction() as db:
            check(db, lock)
            number = self._begin(db, plan, folder, by, message)
            now = self.clock.now()
            steps = ((number, n, now, now, json.dumps({"moved": "before"})) for n in range(plan.commit + 1))
            db.executemany(
                "insert into journal (rollout, phase, n, state, began_at, ended_at, detail)"
                " values (?, 'forward', ?, 'done', ?, ?, ?)",
                steps,
            )
            _promote(db, plan)
            self.audit.add(db, AuditEntry("promote", plan.service, "done", number, plan.release, by=by))
        return self.rollout(number)

    def _begin(self, db: sqlite3.Connection, plan: Plan, folder: Path, by: str, message: str) -> int:
        try:
            cursor = db.execute(
                "insert into rollouts (service, strategy, origin, release, plan, folder, started_at, started_by,"
                " message) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    plan.service,
                    plan.strategy,
                    plan.origin,
                    plan.release,
                    plan.to_json(),
                    str(folder),
                    self.clock.now(),
                    by,
                    message,
                ),
            )
        except sqlite3.IntegrityError:
            raise Refused(f"{plan.service} has a rollout in progress", "see `deploy status`") from None
        number = int(cursor.lastrowid or 0)
        action = "rollback" if plan.strategy == "rollback" else "start"
        brought = _brought(db, plan)
        self.audit.add(db, AuditEntry(action, plan.service, "begun", number, plan.release, brought, message, by))
        return number

    def rollout(self, number: int) -> Rollout:
        """Read a rollout. Raises Refused when there is none of that number."""
        rows = self._all("select * from rollouts where number = ?", number)
        if not rows:
            raise Refused(f"there is no rollout {number}", "`deploy history` lists them")
        return read_rollout(rows[0])

    def open_rollout(self, service: str) -> Rollout | None:
        """Read the rollout in progress of a service."""
        rows = self._all("select * from rollouts where service = ? and ended_at is null", service)
        return read_rollout(rows[0]) if rows else None

    def rollouts(self, service: str, limit: int = 50) -> tuple[Rollout, ...]:
        """Read the rollouts of a service, the newest first."""
        rows = self._all("select * from rollouts where service = ? order by number desc limit ?", service, limit)
        return tuple(read_rollout(r) for r in rows)

    def rollout_times(self, after: int = 0, besides: Collection[int] = ()) -> tuple[RolloutTimes, ...]:
        """Tell how the rollouts went whose number is above `after`, or among `besides`."""
        rows = self._all(
            "select number, service, strategy, outcome, exit, ended_at is not null as ended,"
            " max(coalesce(ended_at, started_at) - started_at, 0) as seconds,"
            " case when ended_at is not null and json_valid(plan) then (select coalesce(sum(max("
            "  coalesce(j.ended_at, j.began_at) - j.began_at, 0)), 0) from journal j where j.rollout = number"
            "  and json_extract(plan, '$.' || j.phase || '[' || j.n || '].kind') not in ('watch', 'approve')"
            " ) else 0 end as worked"
            " from rollouts where number > ? or number in (select value from json_each(?)) order by number",
            after,
            json.dumps(list(besides)),
        )
        return tuple(RolloutTimes(**{**dict(row), "ended": bool(row["ended"])}) for row in rows)

    def last_verdict(self, rollout: int) -> str:
        """Give the word that the judge said last of a rollout; "" before it said any."""
        rows = self._all(
            "select data from events where rollout = ? and kind = 'verdict' order by id desc limit 1", rollout
        )
        return str(json.loads(rows[0]["data"]).get("verdict", "")) if rows else ""

    def journal(self, rollout: int) -> tuple[JournalEntry, ...]:
        """Read the journal of a rollout in the order of its writing."""
        rows = self._all("select * from journal where rollout = ? order by began_at, phase desc, n", rollout)
        return tuple(read_entry(r) for r in rows)

    def entry(self, rollout: int, phase: Phase, n: int) -> JournalEntry | None:
        """Read one line of the journal."""
        rows = self._all("select * from journal where rollout = ? and phase = ? and n = ?", rollout, phase, n)
        return read_entry(rows[0]) if rows else None

    # -- the journal's writes, each one transaction behind the fence

    def step_began(self, lock: Lock, rollout: int, phase: Phase, n: int, until: float = 0.0) -> JournalEntry:
        """Write that a step is being tried; one begun before keeps its wake time, unless that was over (`paused`)."""
        with self.database.transaction() as db:
            check(db, lock)
            db.execute(
                "insert into journal (rollout, phase, n, state, began_at, until) values (?, ?, ?, 'begun', ?, ?)"
                " on conflict do update set state = 'begun', ended_at = null,"
                " until = case until when 0 then excluded.until else until end",
                (rollout, phase, n, self.clock.now(), until),
            )
            db.execute("update rollouts set outcome = '' where number = ?", (rollout,))
            if phase == "forward":  # on the way back they say what turned the rollout, up to its end
                db.execute("update rollouts set exit = 0, text = '' where number = ?", (rollout,))
        entry = self.entry(rollout, phase, n)
        if entry is None:
            raise DeployError(f"the journal lost step {n} of rollout {rollout}")
        return entry

    def step_done(
        self, lock: Lock, rollout: int, phase: Phase, n: int, detail: dict[str, Any], deed: AuditEntry | None = None
    ) -> None:
        """Write that a step was carried out and read back; `deed` where a person did it."""
        with self.database.transaction() as db:
            check(db, lock)
            self._end_step(db, rollout, phase, n, "done", detail)
            if deed is not None:
                self.audit.add(db, deed)

    def approved(self, lock: Lock, rollout: int, n: int, detail: dict[str, Any], deed: AuditEntry | None) -> None:
        """Write that a person approved, and that the rollout is held no longer, in one transaction."""
        with self.database.transaction() as db:
            check(db, lock)
            self._end_step(db, rollout, "forward", n, "done", detail)
            db.execute("update rollouts set outcome = '', exit = 0, text = '' where number = ?", (rollout,))
            if deed is not None:
                self.audit.add(db, deed)

    def promoted(self, lock: Lock, rollout: Rollout, n: int, detail: dict[str, Any], by: str = DEPLOYER) -> None:
        """Write the commit point: step done, release live, standings settled, in one transaction."""
        with self.database.transaction() as db:
            check(db, lock)
            self._end_step(db, rollout.number, "forward", n, "done", detail)
            _promote(db, rollout.plan)
            self.audit.add(db, _deed(rollout, "promote", "done", by=by))

    def turned_back(
        self, lock: Lock, rollout: Rollout, n: int, error: DeployError, heard: ControlRequest | None = None
    ) -> None:
        """Write a failed step, the turn back, and the wish it comes of in one transaction.

        A crash between the first two would measure again; one between the others would forget what a person wanted.
        """
        with self.database.transaction() as db:
            check(db, lock)
            self._take(db, heard)
            # An abort may come before the step has begun: the cause is kept all the same, a way back may get stuck.
            now, detail = self.clock.now(), {"error": error.message, "hint": error.hint, "exit": int(error.exit)}
            db.execute(
                "insert or ignore into journal (rollout, phase, n, state, began_at)"
                " values (?, 'forward', ?, 'begun', ?)",
                (rollout.number, n, now),
            )
            self._end_step(db, rollout.number, "forward", n, "failed", detail)
            db.execute(
                "update rollouts set phase = 'back', exit = ?, text = ? where number = ?",
                (int(error.exit), error.message, rollout.number),
            )
            by = error.by if isinstance(error, Aborted) else DEPLOYER
            action = "roll back" if by == DEPLOYER else "abort"
            self.audit.add(db, _deed(rollout, action, "begun", by=by, reason=error.message))

    def cause(self, rollout: Rollout) -> tuple[int, str]:
        """Read what turned a rollout back: exit code and sentence, whatever happened on the way back since."""
        rows = self._all(
            "select detail from journal where rollout = ? and phase = 'forward' and state = 'failed'", rollout.number
        )
        detail = json.loads(rows[0]["detail"]) if rows else {}
        return int(detail.get("exit", rollout.exit)), str(detail.get("error", rollout.text))

    def step_failed(self, lock: Lock, rollout: int, phase: Phase, n: int, error: DeployError) -> None:
        """Write that a step failed where there is no way back."""
        with self.database.transaction() as db:
            check(db, lock)
            self._end_step(db, rollout, phase, n, "failed", {"error": error.message, "hint": error.hint})

    def paused(
        self,
        lock: Lock,
        rollout: Rollout,
        exit_code: int,
        text: str,
        by: str = DEPLOYER,
        heard: ControlRequest | None = None,
        anew: int | None = None,
    ) -> None:
        """Write that the rollout waits for a person, and take the wish that it comes of; it stays open.

        The wait of the step `anew` is over: it begins again when somebody resumes.
        """
        with self.database.transaction() as db:
            self._outcome(db, lock, rollout, "paused", exit_code, text, heard=heard)
            db.execute(
                "update journal set until = 0 where rollout = ? and phase = 'forward' and n = ?",
                (rollout.number, -1 if anew is None else anew),
            )
            self.audit.add(db, _deed(rollout, "hold" if by == DEPLOYER else "pause", "paused", by=by, reason=text))

    def needs_attention(self, lock: Lock, rollout: Rollout, text: str) -> None:
        """Write that the rollout needs a person; it stays open, so that `resume` can try again."""
        with self.database.transaction() as db:
            self._outcome(db, lock, rollout, "needs-attention", int(Exit.NEEDS_PERSON), text)
            self.audit.add(db, _deed(rollout, "end", "needs-attention", by=DEPLOYER, reason=text))

    def ended(
        self,
        lock: Lock,
        rollout: Rollout,
        outcome: Outcome,
        exit_code: int,
        text: str,
        *,
        events: int,
        owed: bool = False,
    ) -> None:
        """Write the end of a rollout; `owed` where people elsewhere are to be told of it.

        Of so many finished ones of the service, this one included, `events` are kept.
        """
        with self.database.transaction() as db:
            self._outcome(db, lock, rollout, outcome, exit_code, text, ended_at=self.clock.now())
            if owed:
                owe(db, rollout.number)
            if outcome == "reverted":
                # A release that was good before and could not be brought back has not become bad by that.
                db.execute(
                    "update releases set status = 'failed' where service = ? and number = ? and status = 'new'",
                    (rollout.service, rollout.release),
                )
            self.audit.add(db, _deed(rollout, "end", outcome, by=DEPLOYER, reason=text))
            _forget_events(db, rollout.service, events)

    def _outcome(
        self,
        db: sqlite3.Connection,
        lock: Lock,
        rollout: Rollout,
        outcome: str,
        exit_code: int,
        text: str,
        ended_at: float | None = None,
        heard: ControlRequest | None = None,
    ) -> None:
        check(db, lock)
        self._take(db, heard)
        db.execute(
            "update rollouts set outcome = ?, exit = ?, text = ?, ended_at = ? where number = ?",
            (outcome, exit_code, text, ended_at, rollout.number),
        )

    def _end_step(
        self, db: sqlite3.Connection, rollout: int, phase: Phase, n: int, state: str, detail: dict[str, Any]
    ) -> None:
        db.execute(
            "update journal set state = ?, ended_at = ?, detail = ? where rollout = ? and phase = ? and n = ?",
            (state, self.clock.now(), json.dumps(detail), rollout, phase, n),
        )

    # -- warm environments

    def set_warm(self, lock: Lock, release: int, colour: Colour, until: float) -> None:
        """Remember which environment is kept ready, and until when."""
        with self.database.transaction() as db:
            check(db, lock)
            db.execute(
                "update services set warm = ?, warm_colour = ?, warm_until = ? where name = ?",
                (release, colour, until, lock.service),
            )

    def clear_warm(self, lock: Lock) -> None:
        """Forget the warm environment: it is gone."""
        self.set_warm(lock, 0, "blue", 0.0)

    def taken_down(self, lock: Lock, detail: str = "", reason: str = "") -> None:
        """Remember that nothing of the service runs any more; `detail` says what was removed."""
        with self.database.transaction() as db:
            check(db, lock)
            self.audit.add(db, AuditEntry("down", lock.service, detail=detail, reason=reason))
            db.execute("update services set stable = 0, warm = 0, warm_until = 0 where name = ?", (lock.service,))

    # -- asks: what people want of a running rollout

    def ask(
        self, rollout: Rollout, kind: str, by: str, reason: str, lock: Lock | None = None, *, detail: str = ""
    ) -> None:
        """Leave a wish for the process that drives the rollout; one with a lock begins with it to drive by itself."""
        action = "promote" if kind == "force" else kind
        with self.database.transaction() as db:
            if lock is not None:
                check(db, lock)
            db.execute(
                "insert into control_requests (rollout, kind, by, reason, at) values (?, ?, ?, ?, ?)",
                (rollout.number, kind, by, reason, self.clock.now()),
            )
            result = "begun" if lock else "asked"
            self.audit.add(db, _deed(rollout, action, result, by=by, reason=reason, detail=detail))

    def next_ask(self, rollout: int) -> ControlRequest | None:
        """Read the wish that counts among those that nobody took: an abort, else the newest."""
        rows = self._all(
            "select * from control_requests where rollout = ? and taken_at is null"
            " order by kind = 'abort' desc, id desc limit 1",
            rollout,
        )
        return ControlRequest(rows[0]["id"], rows[0]["kind"], rows[0]["by"], rows[0]["reason"]) if rows else None

    def take_ask(self, lock: Lock, ask: ControlRequest) -> None:
        """Mark a wish as taken, and the older ones that it makes void."""
        with self.database.transaction() as db:
            check(db, lock)
            self._take(db, ask)

    def _take(self, db: sqlite3.Connection, ask: ControlRequest | None) -> None:
        if ask is not None:
            db.execute(
                "update control_requests set taken_at = ? where taken_at is null and id <= ?"
                " and rollout = (select rollout from control_requests where id = ?)",
                (self.clock.now(), ask.id, ask.id),
            )

    def promotion_asked(self, rollout: int) -> ControlRequest | None:
        """Read the wish to promote, when it is the last one that was taken: it stands for whoever goes on."""
        rows = self._all(
            "select * from control_requests where rollout = ? and taken_at is not null order by id desc limit 1",
            rollout,
        )
        asked = rows[0] if rows and rows[0]["kind"] in PROMOTIONS else None
        return ControlRequest(asked["id"], asked["kind"], asked["by"], asked["reason"]) if asked else None

    # -- events

    def add_event(self, lock: Lock, event: Event) -> Event:
        """Keep an event; passing ones are only given back."""
        if event.kind in PASSING:
            return event
        with self.database.transaction() as db:
            check(db, lock)
            return add_event(db, event)

    def events(self, rollout: int, after: int = 0) -> tuple[Event, ...]:
        """Read the events of a rollout that come after an event id."""
        rows = self._all("select * from events where rollout = ? and id > ? order by id", rollout, after)
        return tuple(_event(row) for row in rows)

    def events_since(self, after: int, limit: int) -> tuple[Event, ...]:
        """Read events of all services that come after an event id, the oldest first."""
        rows = self._all("select * from events where id > ? order by id limit ?", after, limit)
        return tuple(_event(row) for row in rows)

    def last_event(self) -> int:
        """Give the id of the newest event, 0 when there is none."""
        return int(self._all("select coalesce(max(id), 0) as id from events")[0]["id"])

    def last_event_of(self, rollout: int) -> int:
        """Give the id of the newest event of a rollout, 0 when there is none."""
        return int(self._all("select coalesce(max(id), 0) as id from events where rollout = ?", rollout)[0]["id"])

    # -- ports

    def port(
        self,
        lock: Lock,
        release: int,
        index: int,
        ports: Sequence[int],
        usable: Callable[[int], bool],
        host: str = "",
    ) -> Port:
        """Give the port of an instance, and its machine: what it has, else the free one that was unused for longest.

        A port is given once over all machines. One that was just freed comes last, since a proxy or a client may still
        hold its address. `usable` is asked of ports of this host.
        """
        service = lock.service
        with self.database.transaction() as db:
            check(db, lock)
            row = db.execute(
                "select port, host from ports where service = ? and release = ? and idx = ? and freed_at is null",
                (service, release, index),
            ).fetchone()
            if row:
                return Port(row["port"], release, index, row["host"])
            known = {r["port"]: r["freed_at"] for r in db.execute("select port, freed_at from ports")}
            # Each state folder begins elsewhere, so that two of them on one machine seldom want the same port.
            start = int(self._identity, 16) % len(ports)
            fresh = [p for p in (*ports[start:], *ports[:start]) if p not in known]
            used = sorted((p for p in ports if known.get(p) is not None), key=lambda p: known[p])
            for port in fresh + used:
                if host or usable(port):
                    db.execute(
                        "delete from ports where service = ? and release = ? and idx = ?", (service, release, index)
                    )
                    db.execute(
                        "insert or replace into ports (port, service, release, idx, freed_at, host)"
                        " values (?, ?, ?, ?, null, ?)",
                        (port, service, release, index, host),
                    )
                    return Port(port, release, index, host)
        raise Refused(f"no free port among {ports[0]}-{ports[-1]}", "widen DEPLOYER_PORTS, e.g. 21000-28999")

    def ports(self, service: str) -> tuple[Port, ...]:
        """Read the ports that instances of a service have: all that may stand of it."""
        rows = self._all(
            "select port, release, idx, host from ports where service = ? and freed_at is null order by release, idx",
            service,
        )
        return tuple(Port(row["port"], row["release"], row["idx"], row["host"]) for row in rows)

    def port_is_held(self, port: int) -> bool:
        """Tell whether an instance has this port."""
        return bool(self._all("select 1 from ports where port = ? and freed_at is null", port))

    def free_port(self, lock: Lock, release: int, index: int) -> None:
        """Give a port back after its instance is gone and the proxy has forgotten it."""
        with self.database.transaction() as db:
            check(db, lock)
            db.execute(
                "update ports set freed_at = ? where service = ? and release = ? and idx = ?",
                (self.clock.now(), lock.service, release, index),
            )

    def free_ports(self, lock: Lock, here: Collection[tuple[int, int]], silent: Collection[str] = ()) -> None:
        """Give back the ports of a service but those of the instances that are left: `here`, by release and index.

        Also those that were handed out for an instance which was never started, its maker having died before. What
        stands on a `silent` machine may be left: it keeps its port.
        """
        service, now = lock.service, self.clock.now()
        with self.database.transaction() as db:
            check(db, lock)
            gone = [
                (now, service, port.release, port.index)
                for port in self.ports(service)
                if (port.release, port.index) not in here and port.host not in silent
            ]
            db.executemany("update ports set freed_at = ? where service = ? and release = ? and idx = ?", gone)

    def _all(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self.database.reading() as db:
            return db.execute(query, values).fetchall()


def add_release_row(db: sqlite3.Connection, release: Release) -> None:
    """Write a release as it is, in the transaction of the caller."""
    db.execute(
        "insert into releases values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            release.service,
            release.number,
            release.version,
            release.image,
            release.image_id,
            json.dumps(release.manifest.record()),
            release.config_hash,
            release.git,
            release.created_at,
            release.created_by,
            release.message,
            release.status,
            json.dumps(asdict(release.signature)) if release.signature else "",
            json.dumps(machines) if (machines := release.machines_record()) else "",
            int(release.alone),
        ),
    )


def _event(row: sqlite3.Row) -> Event:
    return Event(row["kind"], row["at"], row["service"], row["rollout"], json.loads(row["data"]), row["id"])


def _next_release(db: sqlite3.Connection, service: str) -> int:
    """Give a number that no release had before, also none whose record is lost."""
    known = db.execute("select max(number) from releases where service = ?", (service,)).fetchone()[0]
    given = db.execute("select value from meta where key = ?", (f"last-release:{service}",)).fetchone()
    return max(int(known or 0), int(given["value"]) if given else 0) + 1


def _promote(db: sqlite3.Connection, plan: Plan) -> None:
    db.execute(
        "update services set stable = ?, warm = 0, warm_colour = '', warm_until = 0 where name = ?",
        (plan.release, plan.service),
    )
    _stand(db, plan.service, plan.release, "good")
    if plan.strategy == "rollback" and plan.origin:
        _stand(db, plan.service, plan.origin, "rolled-back")


def _stand(db: sqlite3.Connection, service: str, number: int, status: str) -> None:
    db.execute("update releases set status = ? where service = ? and number = ?", (status, service, number))


def _forget_events(db: sqlite3.Connection, service: str, keep: int) -> None:
    """Remove the events of all finished rollouts of a service but the newest ones; of one that is open none."""
    db.execute(
        "delete from events where rollout in (select number from rollouts where service = ? and ended_at is not null"
        " and number >= (select min(rollout) from events) order by number desc limit -1 offset ?)",
        (service, keep),
    )


def _brought(db: sqlite3.Connection, plan: Plan) -> str:
    """Say what a rollout brings, in words that still tell it when the release is forgotten."""
    row = db.execute(
        "select version, image, image_id, signature from releases where service = ? and number = ?",
        (plan.service, plan.release),
    ).fetchone()
    what = f" ({row['version']}), {row['image']} = {row['image_id']}" if row else ""
    if row and row["signature"]:
        what += f", {Signature(**json.loads(row['signature'])).explain()}"
    return f"{plan.strategy}: {f'r{plan.origin}' if plan.origin else 'nothing'} → r{plan.release}{what}"


def _deed(
    rollout: Rollout, action: str, result: str, *, by: str = "", reason: str = "", detail: str = ""
) -> AuditEntry:
    return AuditEntry(action, rollout.service, result, rollout.number, rollout.release, detail, reason, by)

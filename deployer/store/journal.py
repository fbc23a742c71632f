"""The journal: what a rollout tries is written before it is tried, and marked after it was read back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployer.core.clock import Clock
from deployer.core.errors import DeployError
from deployer.model import Phase
from deployer.store.audit import Audit, AuditEntry
from deployer.store.database import Connection, Database
from deployer.store.fence import check
from deployer.store.owner import Lock
from deployer.store.records import JournalEntry, Rollout, read_entry, read_sizing

if TYPE_CHECKING:
    from deployer.planning.steps import Step
    from deployer.planning.usage import SizingStep


class Journal:
    """Reads the lines of a rollout and writes them, each write one transaction behind the fence."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database, self._clock, self._audit = database, clock, audit

    def of(self, rollout: int) -> tuple[JournalEntry, ...]:
        """Return the journal of a rollout in the order of its writing."""
        query = "select * from journal where rollout = ? order by began_at, phase desc, n"
        return tuple(read_entry(row) for row in self._database.rows(query, rollout))

    def entry(self, rollout: int, phase: Phase, n: int) -> JournalEntry | None:
        """Return one line of the journal."""
        rows = self._database.rows("select * from journal where rollout = ? and phase = ? and n = ?", rollout, phase, n)
        return read_entry(rows[0]) if rows else None

    def is_done(self, rollout: int, phase: Phase, n: int) -> bool:
        """Return whether a step was carried out."""
        entry = self.entry(rollout, phase, n)
        return entry is not None and entry.state == "done"

    def left(self, rollout: Rollout, phase: Phase = "forward") -> tuple[tuple[int, Step], ...]:
        """Return the steps of a way that are still to be carried out, with their numbers."""
        done = {entry.n for entry in self.of(rollout.number) if entry.phase == phase and entry.state == "done"}
        return tuple((n, step) for n, step in enumerate(rollout.plan.steps(phase)) if n not in done)

    def cause(self, rollout: Rollout) -> tuple[int, str]:
        """Return what turned a rollout back: exit code and sentence, whatever happened on the way back since."""
        rows = self._database.rows(
            "select detail from journal where rollout = ? and phase = 'forward' and state = 'failed'", rollout.number
        )
        detail = json.loads(rows[0]["detail"]) if rows else {}
        return int(detail.get("exit", rollout.exit)), str(detail.get("error", rollout.text))

    def sizing(self, service: str) -> tuple[SizingStep, ...]:
        """Return the steps of a service that changed what runs of it, in the order in which they began."""
        from deployer.planning.usage import SIZING

        at = "json_extract(r.plan, '$.' || j.phase || '[' || j.n || ']')"
        kind = at.replace("']')", "'].kind')")
        query = (  # only marks are put in
            f"select {at} as step, j.began_at, j.ended_at, j.state from journal j"  # noqa: S608
            " join rollouts r on r.number = j.rollout where r.service = ?"
            f" and {kind} in ({', '.join('?' * len(SIZING))}) order by j.rollout, j.began_at, j.phase desc, j.n"
        )
        return tuple(read_sizing(row) for row in self._database.rows(query, service, *SIZING))

    def backup(self, rollout: int) -> str:
        """Return the id of the backup that a rollout made before it changed the database; "" for none."""
        return next((str(entry.detail["backup"]) for entry in self.of(rollout) if entry.detail.get("backup")), "")

    def began(self, lock: Lock, rollout: int, phase: Phase, n: int, until: float = 0.0) -> JournalEntry:
        """Write that a step is being tried; one begun before keeps its wake time, unless that was over (`paused`)."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute(
                "insert into journal (rollout, phase, n, state, began_at, until) values (?, ?, ?, 'begun', ?, ?)"
                " on conflict (rollout, phase, n) do update set state = 'begun', ended_at = null,"
                " until = case when journal.until = 0 then excluded.until else journal.until end",
                (rollout, phase, n, self._clock.now(), until),
            )
            db.execute("update rollouts set outcome = '' where number = ?", (rollout,))
            if phase == "forward":  # on the way back they say what turned the rollout, up to its end
                db.execute("update rollouts set exit = 0, text = '' where number = ?", (rollout,))
        entry = self.entry(rollout, phase, n)
        if entry is None:
            raise DeployError(f"the journal lost step {n} of rollout {rollout}")
        return entry

    def done(
        self, lock: Lock, rollout: int, phase: Phase, n: int, detail: dict[str, Any], deed: AuditEntry | None = None
    ) -> None:
        """Write that a step was carried out and read back; `deed` where a person did it."""
        with self._database.transaction() as db:
            check(db, lock)
            end_step(db, self._clock, (rollout, phase, n), "done", detail)
            if deed is not None:
                self._audit.add(db, deed)

    def failed(self, lock: Lock, rollout: int, phase: Phase, n: int, error: DeployError) -> None:
        """Write that a step failed where there is no way back."""
        with self._database.transaction() as db:
            check(db, lock)
            end_step(db, self._clock, (rollout, phase, n), "failed", {"error": error.message, "hint": error.hint})


def end_step(db: Connection, clock: Clock, line: tuple[int, Phase, int], state: str, detail: dict[str, Any]) -> None:
    """Write how a step ended, by its rollout, phase and number, in the transaction of the caller."""
    db.execute(
        "update journal set state = ?, ended_at = ?, detail = ? where rollout = ? and phase = ? and n = ?",
        (state, clock.now(), json.dumps(detail), *line),
    )

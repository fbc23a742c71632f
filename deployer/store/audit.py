"""The audit log: who did what, why, when, from where, and what came of it; each record seals the one before.

A record's hash is the SHA-256 of its fields as JSON, the hash of the record before among them; the first one follows a
hash of the installation's id. To change, remove or reorder a record, all later ones have to be
written again, which shows when a later hash is known elsewhere. `audit_chain` reads what is written here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from deployer.core.clock import Clock
from deployer.core.digest import sha256
from deployer.core.limits import REASON
from deployer.store import meta
from deployer.store.actor import Actor
from deployer.store.database import Connection, Database
from deployer.store.fence import check
from deployer.store.owner import Lock

if TYPE_CHECKING:
    from deployer.store.records import Rollout


@dataclass(frozen=True)
class AuditEntry:
    """What is to be recorded. `by` is who did it; else the one for whom this process acts.

    `detail` says what it was done to, in fixed words; `reason` is the text of a person, or why the deployer did it.
    """

    action: str
    service: str
    result: str = "done"
    rollout: int = 0
    release: int = 0
    detail: str = ""
    reason: str = ""
    by: str = ""

    @classmethod
    def of(
        cls, rollout: Rollout, action: str, result: str, *, by: str = "", reason: str = "", detail: str = ""
    ) -> Self:
        """Return what is to be recorded of a rollout."""
        return cls(action, rollout.service, result, rollout.number, rollout.release, detail, reason, by)


@dataclass(frozen=True)
class AuditRecord:
    """One line of the audit log. `at` is UTC, `before` the hash of the record before."""

    n: int
    at: str
    by: str
    uid: int
    host: str
    pid: int
    origin: str
    version: str
    service: str
    rollout: int
    release: int
    action: str
    result: str
    detail: str
    reason: str
    before: str
    hash: str


COLUMNS = tuple(field.name for field in fields(AuditRecord))


def seal(record: Mapping[str, Any]) -> str:
    """Return the hash of a record: of all its fields but `hash`, as JSON with sorted keys, no blanks and ASCII only."""
    content = {key: value for key, value in record.items() if key != "hash"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), default=repr)
    return sha256(text.encode("ascii"))


def genesis(installation: str) -> str:
    """Return what the first record of an installation follows."""
    return sha256(f"audit log of {installation}".encode())


def installation(db: Connection) -> str:
    """Read the id of the installation that a store belongs to."""
    return meta.value(db, "installation")


class Audit:
    """Adds to the audit log, for one process."""

    def __init__(self, database: Database, clock: Clock, actor: Actor) -> None:
        self.actor = actor
        self._database, self._clock = database, clock

    def record(self, deed: AuditEntry, lock: Lock | None = None) -> None:
        """Record a deed that changes nothing here, or whose change is elsewhere; behind the fence, if there is one."""
        with self._database.transaction() as db:
            if lock is not None:
                check(db, lock)
            self.add(db, deed)

    def add(self, db: Connection, deed: AuditEntry) -> AuditRecord:
        """Record a deed in the transaction that does it: both are there, or neither is."""
        last = db.execute("select n, hash from audit order by n desc limit 1").fetchone()
        who = {key: _text(value) for key, value in asdict(self.actor).items()}
        what = {key: _text(value) for key, value in asdict(deed).items() if key != "by"}
        content = {
            **who,
            **what,
            "n": last["n"] + 1 if last else 1,
            "at": datetime.fromtimestamp(self._clock.now(), UTC).isoformat(timespec="milliseconds"),
            "by": _text(deed.by or self.actor.by),
            "before": last["hash"] if last else genesis(installation(db)),
        }
        record = AuditRecord(**content, hash=seal(content))
        marks = ", ".join("?" * len(COLUMNS))
        db.execute(f"insert into audit ({', '.join(COLUMNS)}) values ({marks})", tuple(asdict(record).values()))  # noqa: S608 - constant names
        return record


def _text(value: Any) -> Any:
    """Bound a text, and write what is no Unicode (an argument in another encoding) so that it can be read back."""
    if not isinstance(value, str):
        return value
    whole = value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    return whole if len(whole) <= REASON else f"{whole[: REASON - 1]}…"

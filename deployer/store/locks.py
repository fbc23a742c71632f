"""One hand at a time: a lock for each service, with an owner, a lease and a fencing token."""

from __future__ import annotations

import os
import socket
import sqlite3
import time
from dataclasses import dataclass

from deployer.clock import Clock
from deployer.errors import Locked, LockLost
from deployer.here import whoami as whoami
from deployer.store.audit import Audit, Deed
from deployer.store.database import Database
from deployer.supervisor.proc import Process

LEASE_SECONDS = 30.0


def started_at(pid: int) -> int:
    """Give the start time of a process in clock ticks since boot (proc(5), field 22), 0 when it is gone."""
    process = Process.of(pid)
    return process.started if process else 0


@dataclass(frozen=True)
class Lock:
    """The right to change a service; `token` is the fence: it grows with each owner."""

    service: str
    token: int
    owner: str
    host: str
    pid: int
    pid_started: int
    purpose: str
    since: float
    expires: float

    def alive(self, now: float) -> bool:
        """Tell whether the owner still lives: its process on this machine, else its lease."""
        if self.host == socket.gethostname():
            return started_at(self.pid) == self.pid_started
        return now < self.expires


class Locks:
    """Takes, renews and releases locks."""

    def __init__(self, database: Database, clock: Clock, audit: Audit) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit

    def read(self, service: str) -> Lock | None:
        """Read who holds the service; None when nobody alive does."""
        with self._database.reading() as db:
            lock = _read(db, service)
        return lock if lock and lock.alive(self._clock.now()) else None

    def take(self, service: str, purpose: str) -> Lock:
        """Take the lock of a service; a dead owner's is taken over.

        Raises Locked with who holds it, since when, from where and what for.
        """
        now, pid = self._clock.now(), os.getpid()
        with self._database.transaction() as db:
            held = _read(db, service)
            if held and held.alive(now):
                raise Locked(
                    f"{service} is being changed by {held.owner} (pid {held.pid}) since "
                    f"{time.strftime('%H:%M:%S', time.localtime(held.since))}: {held.purpose}",
                    "wait for it, follow it with `deploy watch`, or stop it with `deploy abort`",
                )
            token = (held.token if held else int(_meta(db, f"token:{service}") or 0)) + 1
            lock = Lock(
                service, token, whoami(), socket.gethostname(), pid, started_at(pid), purpose, now, now + LEASE_SECONDS
            )
            db.execute(
                "insert or replace into locks values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (service, token, lock.owner, lock.host, pid, lock.pid_started, purpose, now, lock.expires),
            )
        return lock

    def renew(self, lock: Lock) -> None:
        """Prolong the lease. Raises LockLost when somebody else took the lock meanwhile."""
        with self._database.transaction() as db:
            check(db, lock)
            db.execute(
                "update locks set expires = ? where service = ?", (self._clock.now() + LEASE_SECONDS, lock.service)
            )

    def verify(self, lock: Lock) -> None:
        """Raise LockLost unless this lock still holds: asked before each change of the world."""
        self._database.present()
        with self._database.reading() as db:
            check(db, lock)

    def release(self, lock: Lock) -> None:
        """Give the lock back; one that was lost is no error."""
        with self._database.transaction() as db:
            _drop(db, lock)

    def break_(self, service: str, reason: str = "") -> Lock | None:
        """Take the lock away from whoever holds it; give what was held."""
        with self._database.transaction() as db:
            held = _read(db, service)
            if held:
                _drop(db, held)
                detail = f"taken from {held.owner} (pid {held.pid}): {held.purpose}"
                self._audit.add(db, Deed("release-lock", service, detail=detail, reason=reason))
        return held


def check(db: sqlite3.Connection, lock: Lock) -> None:
    """Raise LockLost unless the lock is still the current one of its service."""
    row = db.execute("select token, owner from locks where service = ?", (lock.service,)).fetchone()
    if row is None or row["token"] != lock.token:
        by = f" by {row['owner']}" if row else ""
        raise LockLost(
            f"this deploy of {lock.service} was overtaken{by}; it changes nothing any more", "see `deploy status`"
        )


def _read(db: sqlite3.Connection, service: str) -> Lock | None:
    row = db.execute("select * from locks where service = ?", (service,)).fetchone()
    return Lock(**dict(row)) if row else None


def _meta(db: sqlite3.Connection, key: str) -> str:
    row = db.execute("select value from meta where key = ?", (key,)).fetchone()
    return str(row["value"]) if row else ""


def _drop(db: sqlite3.Connection, lock: Lock) -> None:
    # The token outlives the lock, so that a later owner's is always greater.
    db.execute("delete from locks where service = ? and token = ?", (lock.service, lock.token))
    db.execute("insert or replace into meta values (?, ?)", (f"token:{lock.service}", str(lock.token)))

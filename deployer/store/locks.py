"""One process at a time: a lock for each service, with an owner that is alive and responds, and a fencing token.

The store has the owner of a service, and each owner's token is greater than those of all before. Three questions decide
what a lock is worth:

**Is the owner alive?** The kernel knows. An owner holds the byte of `locks/SERVICE.lock` at the offset of its token
as long as its process lives. It is free in the instant in which the process ends, also together with the host, and
is seen in every container that has the folder, whatever pids these see. That is all who can use the store: processes
that share SQLite's log share its memory (https://sqlite.org/wal.html), so they run on one kernel.

**Does it respond?** A living owner sends heartbeats. One whose last heartbeat is older than the lease is stopped or
hangs, and the next process that wants the lock takes it. Heartbeats are timed by the clock that counts since the boot:
the wall clock may be set to anything.

**Does what it does still count?** Every write to the store checks the token in its own transaction. Every change of the
world is made inside `changing`: the token is checked while a second byte is held, and a new owner does nothing before
no earlier one holds such a byte. So a process that was stopped between check and change is waited for, not raced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import astuple

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Locked, StoreFailed
from deployer.core.local_host import whoami as whoami
from deployer.store import fence
from deployer.store.audit import Audit, AuditEntry
from deployer.store.claims import Claim, Claims
from deployer.store.database import Connection, Database
from deployer.store.owner import Lock

LEASE_SECONDS = 30.0  # of silence, after which a living owner may be overtaken
BEAT_SECONDS = LEASE_SECONDS / 4
CHANGE_SECONDS = 10.0  # that a new owner waits for what an earlier one has begun
CHANGES = 1 << 40  # the byte of a change has this offset more than that of its owner


class Locks:
    """Takes, renews and releases locks; by `claims` their owners are known to live."""

    def __init__(self, database: Database, clock: Clock, audit: Audit, claims: Claims) -> None:
        self._database = database
        self._clock = clock
        self._audit = audit
        self._claims = claims
        self._lives: dict[tuple[str, int], Claim] = {}  # that this process holds

    def read(self, service: str) -> Lock | None:
        """Read who holds the service; None when nobody does who lives and answers."""
        with self._database.reading() as db:
            lock = fence.read(db, service)
        if lock is None or not self._alive(lock) or lock.silent(self._clock.monotonic()) >= LEASE_SECONDS:
            return None
        return lock

    def is_free(self, service: str) -> bool:
        """Return whether nobody who lives holds the service, be it one who gives no sign of life."""
        with self._database.reading() as db:
            lock = fence.read(db, service)
        return lock is None or not self._alive(lock)

    def take(self, service: str, purpose: str) -> Lock:
        """Take the lock of a service; it is free when its owner is dead, or has been silent for longer than the lease.

        Raises Locked with who holds it, since when, what for, from where and with which version.
        """
        with ExitStack() as undo:
            with self._database.transaction() as db:
                held = fence.read(db, service)
                overtaken = self._overtaken(held) if held else ""
                lock, former = self._next(db, service, purpose), self._words(service)
                undo.callback(self._end_life, lock)
                self._begin_life(lock)
                values = astuple(lock)
                db.execute("delete from locks where service = ?", (service,))
                db.execute(f"insert into locks values ({', '.join('?' * len(values))})", values)  # noqa: S608 - marks
                if held and overtaken:
                    fence.note_loss(db, held, lock.owner, overtaken)
                    self._audit.add(db, AuditEntry("overtake", service, detail=held.purpose, reason=overtaken))
            undo.pop_all()
        self._await_changes(lock, former)
        return lock

    def renew(self, lock: Lock) -> None:
        """Record a sign of life. Raises LockLost when somebody else took the lock meanwhile."""
        with self._database.transaction() as db:
            fence.check(db, lock)
            db.execute("update locks set beat = ? where service = ?", (self._clock.monotonic(), lock.service))
        life = self._lives.get((lock.service, lock.token))
        if life is not None and not life.stands():  # somebody removed its file: held by nobody, as others see it
            life.let_go()
            with self._files(lock.service):
                life.try_take()

    def verify(self, lock: Lock) -> None:
        """Raise LockLost unless this lock still holds."""
        self._database.present()
        with self._database.reading() as db:
            fence.check(db, lock)

    @contextmanager
    def changing(self, lock: Lock) -> Iterator[None]:
        """Change the world in this block. Raises LockLost before it when somebody else took the lock meanwhile.

        As long as the block lasts nobody else begins to change anything, also if this process is stopped in it.
        """
        self._database.present()
        change = self._claims.claim(_name(lock.service), CHANGES + lock.token, shared=True)
        with self._files(lock.service):
            change.take(CHANGE_SECONDS)
        try:
            self.verify(lock)
            yield
        finally:
            change.let_go()

    def outlive(self, lock: Lock, token: int) -> None:
        """Ensure that later owners have greater tokens than this one, which a proxy has. Raise LockLost."""
        with self._database.transaction() as db:
            fence.check(db, lock)
            fence.outlive(db, lock.service, token)

    def release(self, lock: Lock) -> None:
        """Release the lock; one that was lost is no error."""
        try:
            # What cannot be written down is so all the same: without its life the lock is a dead owner's.
            with suppress(StoreFailed), self._database.transaction() as db:
                fence.drop(db, lock)
        finally:
            self._end_life(lock)

    def break_(self, service: str, reason: str = "") -> Lock | None:
        """Take the lock from its holder, silent or not; return what was held, None when no living process held it."""
        with self._database.transaction() as db:
            held = fence.read(db, service)
            if held is None or not self._alive(held):
                return None
            fence.drop(db, held)
            fence.note_loss(db, held, self._audit.actor.by, reason)
            detail = f"taken from {held.owner} ({held.where}): {held.purpose}"
            self._audit.add(db, AuditEntry("release-lock", service, detail=detail, reason=reason))
        return held

    def is_changing(self, lock: Lock) -> bool:
        """Return whether its owner, or one before, is in the middle of a change."""
        with self._files(lock.service):
            return self._claims.is_held(_name(lock.service), CHANGES, CHANGES + lock.token + 1)

    def close(self) -> None:
        """End the lives of all locks of this process."""
        while self._lives:
            self._lives.popitem()[1].let_go()

    # -- parts

    def _words(self, service: str) -> str:
        """Return who held a lock last."""
        return self._claims.words(_name(service)) or "unknown"

    def _alive(self, lock: Lock) -> bool:
        with self._files(lock.service):
            return self._claims.is_held(_name(lock.service), lock.token)

    def _overtaken(self, held: Lock) -> str:
        """Return why a living owner is overtaken; empty for a dead one. Raises Locked for one that answers."""
        if not self._alive(held):
            gone = f"no sign of life for {self._claims.lapse:g} s"
            return "" if self._claims.certain else f"{held.owner} ({held.where}) is gone, stopped or cut off: {gone}"
        said, silent = held.explain(self._clock.now()), held.silent(self._clock.monotonic())
        if silent < LEASE_SECONDS:
            raise Locked(
                said,
                "wait for it, follow it with `deploy watch`, or stop it with `deploy abort`; if it hangs for good:"
                ' `deploy release-lock -m "why"`',
            )
        if self.is_changing(held):
            raise Locked(f"{said}; no heartbeat for {silent:.0f} s in the middle of a change", held.how_to_end())
        return f"{held.owner} ({held.where}) sent no heartbeat for {silent:.0f} s"

    def _next(self, db: Connection, service: str, purpose: str) -> Lock:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        return Lock.of(
            self._audit.actor, service, fence.last_token(db, service) + 1, purpose, now=now, monotonic=monotonic
        )

    def _begin_life(self, lock: Lock) -> None:
        life = self._claims.claim(_name(lock.service), lock.token)
        with self._files(lock.service):
            if not life.try_take():  # the store is older than what works with it: a backup, or one that was rewritten
                by = self._words(lock.service)
                raise Locked(
                    f"{lock.service} is being changed by a process that the store does not know ({by})",
                    "wait for it, or end it",
                )
            self._lives[lock.service, lock.token] = life
            life.write(f"{lock.owner} ({lock.where}): {lock.purpose}\n")

    def _end_life(self, lock: Lock) -> None:
        life = self._lives.pop((lock.service, lock.token), None)
        if life is not None:
            life.let_go()

    def _await_changes(self, lock: Lock, former: str) -> None:
        """Wait until what earlier owners have begun is over. Raises Locked, the lock given back, when it is not."""
        patience = Deadline.after(self._clock, CHANGE_SECONDS)
        try:
            with self._files(lock.service):
                name = _name(lock.service)
                if not patience.wait(lambda: not self._claims.is_held(name, CHANGES, CHANGES + lock.token)):
                    raise Locked(
                        f"{lock.service}: the lock is free, but an earlier owner ({former}) is still in the middle"
                        " of a change",
                        "wait until that is over; or let that process go on (kill -CONT) or end it (kill -9)",
                    )
        except BaseException:
            self.release(lock)
            raise

    @contextmanager
    def _files(self, service: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFailed(
                f"{error.filename or _name(service)} cannot be locked: {error.strerror or error}",
                "check the permissions of the state folder, and the disk; or name another folder with --state",
            ) from error


def _name(service: str) -> str:
    """Return under which name the claims of a service are."""
    return f"locks/{service}.lock"

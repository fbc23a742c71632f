"""Claims that several hosts see: rows with an end by the clock of the database, which their holders put off.

A row that is not renewed lapses: its process is dead, stopped or cut off, which cannot be told apart from elsewhere.
So a claim says only who should be left alone; whose writes count says the token of the lock.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from deployer.core.background import BackgroundThread
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import StoreFailed
from deployer.store.postgres.database import PostgresDatabase

LAPSE_SECONDS = 8.0
BEAT_SECONDS = LAPSE_SECONDS / 3  # three of them are missed before somebody else goes on
_WHOLE = -1  # the place of a claim of the whole name
_NOW = "extract(epoch from clock_timestamp())::double precision"


@dataclass(frozen=True)
class _Row:
    """What is claimed."""

    name: str
    at: int
    shared: bool


class LeaseClaim:
    """One claim. It is renewed by the thread of its claims as long as it is held."""

    def __init__(self, claims: LeaseClaims, row: _Row, clock: Clock) -> None:
        self._claims, self._row, self._clock = claims, row, clock
        self._holder = ""

    def try_take(self) -> bool:
        """Take it if it is free; return whether it is held now."""
        self._holder = self._claims.add(self._row)
        return bool(self._holder)

    def take(self, seconds: float) -> None:
        """Take it. Raise StoreFailed when it is not free within `seconds`."""
        if not Deadline.after(self._clock, seconds).wait(self.try_take):
            raise StoreFailed(
                f"{self._row.name} has been held by another command for more than {seconds:g} s", "wait for it"
            )

    def write(self, text: str) -> None:
        """Write down who holds it, for people."""
        if self._holder:
            self._claims.write(self._holder, text)

    def stands(self) -> bool:
        """Return whether it is held here, and did not lapse."""
        return self._claims.stands(self._holder)

    def let_go(self) -> None:
        """Release it; one that is not held is no error."""
        holder, self._holder = self._holder, ""
        if holder:
            self._claims.remove(holder)


class LeaseClaims:
    """The claims of this process, renewed by a thread while there are any, and those of others."""

    certain = False
    lapse = LAPSE_SECONDS

    def __init__(self, database: PostgresDatabase, another: Callable[[], PostgresDatabase], clock: Clock) -> None:
        self._clock = clock
        self._database = database
        self._another = another  # connection: a renewal does not wait for what this process does with the first one
        self._held: set[str] = set()
        self._mutex = threading.Lock()
        self._renewing: BackgroundThread | None = None

    def claim(self, name: str, at: int | None = None, *, shared: bool = False) -> LeaseClaim:
        """Return a claim to take."""
        return LeaseClaim(self, _Row(name, _WHOLE if at is None else at, shared), self._clock)

    def is_held(self, name: str, at: int | None = None, below: int = 0) -> bool:
        """Return whether anybody holds a place of a name."""
        where, values = (
            ("", ()) if at is None else (" and (at = ? or at >= ? and at < ?)", (_WHOLE, at, below or at + 1))
        )
        query = f"select 1 from claims where name = ? and until > {_NOW}{where} limit 1"  # noqa: S608 - constants
        return bool(self._database.rows(query, name, *values))

    def words(self, name: str) -> str:
        """Return what who took a claim of a name last wrote."""
        rows = self._database.rows("select words from claim_words where name = ?", name)
        return str(rows[0]["words"]) if rows else ""

    def close(self) -> None:
        """Release all that this process holds."""
        for holder in tuple(self._held):
            self.remove(holder)
        if (renewing := self._renewing) is not None:
            renewing.over.set()

    # -- for its claims

    def add(self, row: _Row) -> str:
        """Add a claim; return its holder, "" where it is not free."""
        self._check()
        holder = uuid.uuid4().hex
        with self._database.transaction() as db:
            # Who is renewing in this moment is waited for, and seen.
            db.execute(f"delete from claims where name = ? and until <= {_NOW}", (row.name,))  # noqa: S608 - constants
            taken = db.execute(
                "select 1 from claims where name = ? and (at = ? or at = ? or ? = ?) and (exclusive or ?) limit 1",
                (row.name, row.at, _WHOLE, row.at, _WHOLE, not row.shared),
            ).fetchone()
            if taken:
                return ""
            db.execute(
                f"insert into claims values (?, ?, ?, ?, {_NOW} + ?)",  # noqa: S608 - constants
                (holder, row.name, row.at, not row.shared, LAPSE_SECONDS),
            )
        with self._mutex:
            self._held.add(holder)
            if self._renewing is None or self._renewing.over.is_set():
                self._renewing = BackgroundThread("claims", self._renew)
                self._renewing.start()
        return holder

    def write(self, holder: str, text: str) -> None:
        """Write down who holds a claim."""
        with self._database.transaction() as db:
            db.execute(
                "insert into claim_words (name, words) select name, ? from claims where holder = ?"
                " on conflict (name) do update set words = excluded.words",
                (text, holder),
            )

    def stands(self, holder: str) -> bool:
        """Return whether a claim is held and did not lapse. Raise the error that ended the renewing, once."""
        self._check()
        query = f"select 1 from claims where holder = ? and until > {_NOW}"  # noqa: S608 - constants
        return holder in self._held and bool(self._database.rows(query, holder))

    def remove(self, holder: str) -> None:
        """Release a claim; where that cannot be written, it lapses."""
        with self._mutex:
            self._held.discard(holder)
        with suppress(StoreFailed), self._database.transaction() as db:
            db.execute("delete from claims where holder = ?", (holder,))

    def _check(self) -> None:
        """Raise the error that ended the renewing, once. What was held is so no more; the next claim renews anew."""
        with self._mutex:
            renewing = self._renewing
            if renewing is None or renewing.error is None:
                return
            self._renewing = None
            self._held.clear()  # it lapses: nobody put off its end
        renewing.check()

    def _renew(self, over: threading.Event) -> None:
        """Put off the end of what is held, until nothing is; what has lapsed is not brought back."""
        database: PostgresDatabase | None = None
        try:
            while not over.wait(BEAT_SECONDS):
                with self._mutex:
                    held = tuple(self._held)
                    if not held:
                        self._renewing = None
                        return
                # A database that cannot be reached lets claims lapse, which their holders find out by asking.
                with suppress(StoreFailed):
                    database = database or self._another()
                    _put_off(database, held)
        finally:
            if database is not None:
                database.close()


def _put_off(database: PostgresDatabase, held: Sequence[str]) -> None:
    marks = ", ".join("?" * len(held))
    query = f"update claims set until = {_NOW} + ? where until > {_NOW} and holder in ({marks}) returning holder"  # noqa: S608
    database.rows(query, LAPSE_SECONDS, *held)

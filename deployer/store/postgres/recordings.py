"""Recordings in a database that hosts share: the lines of each file, in the pieces in which they were brought."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.store import fence
from deployer.store.owner import Lock
from deployer.store.postgres.database import PostgresDatabase


class SharedRecordings:
    """The table `recordings`. A piece begins `at` a byte of the file; the pieces of a file have no gaps."""

    def __init__(self, database: PostgresDatabase) -> None:
        self._database = database

    def size(self, rollout: int) -> int:
        """Return the bytes that are there of a recording."""
        query = "select coalesce(max(at + length(lines)), 0) from recordings where rollout = ?"
        return int(self._database.rows(query, rollout)[0][0])

    def add(self, lock: Lock, rollout: int, at: int, lines: str) -> None:
        """Add the lines that begin at a byte. Raise LockLost for an owner who was overtaken."""
        with self._database.transaction() as db:
            fence.check(db, lock)
            self.put(rollout, at, lines)

    def put(self, rollout: int, at: int, lines: str) -> None:
        """Add lines of a rollout that is over."""
        with self._database.transaction() as db:
            db.execute("insert into recordings values (?, ?, ?)", (rollout, at, lines))

    def read(self, rollout: int, at: int) -> Iterator[str]:
        """Yield the lines from a byte on."""
        query = "select at, lines from recordings where rollout = ? and at + length(lines) > ? order by at limit 1"
        while rows := self._database.rows(query, rollout, at):
            began, lines = rows[0]
            yield lines[at - began :]
            at = began + len(lines)

    def prune(self, keep: int) -> None:
        """Remove the oldest recordings until `keep` are left."""
        with self._database.transaction() as db:
            db.execute(
                "delete from recordings where rollout not in"
                " (select rollout from recordings group by rollout order by rollout desc limit ?)",
                (keep,),
            )

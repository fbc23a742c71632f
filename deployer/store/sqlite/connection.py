"""A connection to SQLite, and what SQLite does in its own way."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from deployer.store.database import Duplicate


class SqliteConnection(sqlite3.Connection):
    """What `deployer.store.database.Connection` says, beside what SQLite's own connection has of it."""

    def insert(self, query: str, values: Sequence[Any], key: str) -> int:  # noqa: ARG002 - the key is SQLite's row id
        """Add a row; return its number. Raise Duplicate where another row excludes it."""
        try:
            return int(self.execute(query, values).lastrowid or 0)
        except sqlite3.IntegrityError as error:
            raise Duplicate(str(error)) from None

    def last_number(self, table: str) -> int:
        """Return the highest number that a row of a table was ever given."""
        row = self.execute("select seq from sqlite_sequence where name = ?", (table,)).fetchone()
        return int(row["seq"]) if row else 0

    def number_after(self, table: str, last: int) -> None:
        """Let the next row of a table have a number above `last`."""
        done = self.execute("update sqlite_sequence set seq = max(seq, ?) where name = ?", (last, table))
        if not done.rowcount:
            self.execute("insert into sqlite_sequence (name, seq) values (?, ?)", (table, last))

    def triggers(self) -> frozenset[str]:
        """Return the names of the triggers."""
        return frozenset(row["name"] for row in self.execute("select name from sqlite_master where type = 'trigger'"))

"""A connection to PostgreSQL as the tables use it, and what PostgreSQL does in its own way."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Self, cast

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from deployer.store.database import Cursor, Duplicate
from deployer.store.postgres.answer_watch import AnswerWatch

ANSWER_SECONDS = 15.0  # for one statement: longer than what the server itself is given (database.BEGIN)


class PostgresRow(tuple[Any, ...]):
    """One row: its values by name or place."""

    _places: dict[str, int]

    @classmethod
    def of(cls, places: dict[str, int], values: Sequence[Any]) -> Self:
        """Make a row of the places of its columns, and its values."""
        row = cls(values)
        row._places = places
        return row

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._places[key] if isinstance(key, str) else key)

    def keys(self) -> list[str]:
        """Return the names of its columns."""
        return list(self._places)


def _rows(cursor: psycopg.Cursor[Any]) -> Any:
    places = {column.name: place for place, column in enumerate(cursor.description or ())}
    return lambda values: PostgresRow.of(places, values)


class PostgresConnection:
    """What `deployer.store.database.Connection` says. Nothing is prepared or set beyond a transaction (pgbouncer)."""

    def __init__(self, address: str, name: str, seconds: float) -> None:
        self.patience = 0.0  # seconds for each statement, where it is not the usual time
        self._watch = AnswerWatch(self._cut)
        self.raw: psycopg.Connection[Any] = psycopg.connect(
            address,
            autocommit=True,
            prepare_threshold=None,
            row_factory=_rows,
            application_name=name,
            connect_timeout=max(2, round(seconds)),
            client_encoding="utf8",
        )

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement; without values also several, as one message."""
        # A server that was stopped, or a network that swallows everything, gives no answer.
        with self._watch.within(self.patience or ANSWER_SECONDS):
            if not values:
                return self.raw.execute(cast("Any", query))
            return self.raw.execute(_written(query), [_plain(value) for value in values])

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> None:
        """Run one statement for each of the rows."""
        for row in rows:
            self.execute(query, row)

    def insert(self, query: str, values: Sequence[Any], key: str) -> int:
        """Add a row that is given a number in the column `key`. Raise Duplicate where another row excludes it."""
        try:
            return int(self.execute(f"{query} returning {key}", values).fetchone()[0])
        except errors.UniqueViolation as error:
            raise Duplicate(str(error)) from None

    def last_number(self, table: str) -> int:
        """Return the highest number that a row of a table was ever given."""
        row = self.execute("select last from numbers where name = ?", (table,)).fetchone()
        return int(row["last"]) if row else 0

    def number_after(self, table: str, last: int) -> None:
        """Let the next row of a table have a number above `last`."""
        self.execute(
            "insert into numbers values (?, ?) on conflict (name) do update"
            " set last = greatest(numbers.last, excluded.last)",
            (table, last),
        )

    def triggers(self) -> frozenset[str]:
        """Return the names of the triggers that are at work."""
        found = self.execute(
            "select tgname from pg_trigger t join pg_class c on c.oid = t.tgrelid"
            " where c.relnamespace = to_regnamespace(current_schema()) and not tgisinternal and tgenabled = 'O'"
        )
        return frozenset(row["tgname"] for row in found)

    @property
    def lost(self) -> bool:
        """Return whether the server has ended it, or cannot be reached by it any more."""
        return bool(self.raw.closed)

    @property
    def failed(self) -> bool:
        """Return whether a statement of the transaction has failed: its commit would undo it, and say nothing."""
        return self.raw.info.transaction_status == TransactionStatus.INERROR

    def close(self) -> None:
        """Close it."""
        self._watch.close()
        self.raw.close()

    def _cut(self) -> None:
        with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(self.raw.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=512)
def _written(query: str) -> Any:
    """Write a query with the marks of the driver; no text of a query has a question mark of its own."""
    return query.replace("%", "%%").replace("?", "%s")


def _plain(value: Any) -> Any:
    """Return a value as PostgreSQL takes it: its text holds no NUL, and the driver would write names of enums."""
    if isinstance(value, str):
        return str.__str__(value).replace("\0", "\\x00")
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    return value

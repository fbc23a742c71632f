"""The database as the tables use it: one dialect of plain SQL, with `?` for values, by whichever database carries it.

What databases do differently is in one method each of a connection, or in the folder of the database; the modules of
the tables know none of it. Writers take turns: a transaction is alone with the tables from its first statement on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from deployer.core.errors import StoreFailed


class Duplicate(Exception):
    """A row was to be added beside one that excludes it."""


class Row(Protocol):
    """One row: its values by name or place, `dict(row)`, or all of them in turn."""

    def __getitem__(self, key: Any, /) -> Any: ...
    def __iter__(self) -> Iterator[Any]: ...

    def keys(self) -> list[str]:
        """Return the names of its columns."""
        ...


class Cursor(Protocol):
    """What a statement gave."""

    @property
    def rowcount(self) -> int:
        """Return how many rows were changed."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def fetchone(self) -> Any:
        """Return the next row; None after the last one."""
        ...

    def fetchall(self) -> list[Any]:
        """Return the rows that are left."""
        ...


class Connection(Protocol):
    """Statements, in a transaction or for a query."""

    def execute(self, query: str, values: Sequence[Any] = (), /) -> Cursor:
        """Run one statement."""
        ...

    def executemany(self, query: str, rows: Iterable[Sequence[Any]], /) -> object:
        """Run one statement for each of the rows."""
        ...

    def insert(self, query: str, values: Sequence[Any], key: str) -> int:
        """Add a row that is given a number in the column `key`; return the number.

        Raise Duplicate where another row excludes it.
        """
        ...

    def last_number(self, table: str) -> int:
        """Return the highest number that a row of a table was ever given, also one that was removed; 0 for none."""
        ...

    def number_after(self, table: str, last: int) -> None:
        """Let the next row of a table have a number above `last`, and above all that were ever given."""
        ...

    def triggers(self) -> frozenset[str]:
        """Return the names of the triggers that the tables have."""
        ...


class Database(Protocol):
    """One database, shared by the threads of this process: each has it for the length of a query or transaction.

    Every method raises StoreFailed, with what to do, where the database cannot do it; StoreDamaged when it is no store
    or not whole. `unwritable` says why a transaction raises StoreFailed where queries are still answered.
    """

    unwritable: StoreFailed | None

    def reading(self) -> AbstractContextManager[Connection]:
        """Have the connection for queries."""
        ...

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return what a query gives."""
        ...

    def moment(self) -> AbstractContextManager[Connection]:
        """Have the connection for queries that all see one moment; text that is no Unicode is given escaped."""
        ...

    def transaction(self) -> AbstractContextManager[Connection]:
        """Run the block as one write transaction: all of it or nothing, and nobody else writes meanwhile."""
        ...

    def present(self) -> None:
        """Raise StoreFailed when this is not the store any more that others see."""
        ...

    def whole(self) -> None:
        """Read all of it. Raise StoreDamaged when a part is not what it should be."""
        ...

    def close(self) -> None:
        """Close what is open."""
        ...

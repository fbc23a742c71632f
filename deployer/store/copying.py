"""All records of one store in another one, whichever databases carry them: copied in one transaction, and read back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from deployer.core.errors import StoreFailed
from deployer.store import meta
from deployer.store.database import Connection
from deployer.store.schema import MIGRATIONS

TABLES = tuple(re.findall(r"create table (\w+)", "".join(MIGRATIONS)))  # those that others refer to come first
_NUMBERED = tuple(
    name for name in TABLES if re.search(rf"create table {name} \(\s*\w+ integer primary key auto", MIGRATIONS[0])
)
_FLAGS = {("job_runs", "owed")}  # booleans, where a database knows them
_OF_ONE = re.compile("moved|key-hash|home:.*|sealed:.*")  # keys of `meta` that say something of their database alone
_NUL = "\\x00"  # what PostgreSQL, whose text has no NUL, is given for one


def copy(source: Connection, target: Connection) -> dict[str, int]:
    """Copy all records into a store that has none; return how many of each table.

    Both are within a transaction. Raise StoreFailed where what is read back is not what was written.
    """
    counts: dict[str, int] = {}
    for table in TABLES:
        rows = list(_rows(source, table))
        for row in rows:
            _add(target, table, row)
        if table in _NUMBERED and (last := source.last_number(table)):
            target.number_after(table, last)
        counts[table] = len(rows)
        _compare(table, rows, list(_rows(target, table)))
    return counts


def _rows(db: Connection, table: str) -> Iterator[dict[str, Any]]:
    for row in db.execute(f"select * from {table} order by 1"):  # noqa: S608 - a table of ours
        if table != "meta" or not _OF_ONE.fullmatch(row["key"]):
            yield dict(zip(row.keys(), row, strict=True))


def _add(db: Connection, table: str, row: Mapping[str, Any]) -> None:
    if table == "meta":  # a store has some of its own from the beginning
        meta.put(db, row["key"], row["value"])
        return
    values = [bool(value) if (table, name) in _FLAGS else value for name, value in row.items()]
    marks = ", ".join("?" * len(values))
    db.execute(f"insert into {table} ({', '.join(row)}) values ({marks})", values)  # noqa: S608 - columns of ours


def _compare(table: str, written: list[dict[str, Any]], read: list[dict[str, Any]]) -> None:
    """Raise StoreFailed unless what was read back is what was written."""
    if table == "meta":
        keys = {row["key"] for row in written}
        read = [row for row in read if row["key"] in keys]
    if sorted(map(_plain, written)) != sorted(map(_plain, read)):
        raise StoreFailed(
            f"the records of the table {table} are not the same after they were copied ({len(written)}, {len(read)})",
            "nothing was moved; this is a bug of deployer, please report it",
        )


def _plain(row: Mapping[str, Any]) -> str:
    """Write a row in one way, whichever database it is from."""
    return repr([(name, _value(value)) for name, value in sorted(row.items())])


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", _NUL)
    return int(value) if isinstance(value, bool) else value

"""Reads the audit log and follows its chain: in the store, or in a file that it was exported to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from deployer.core.errors import Refused
from deployer.store.audit import COLUMNS, AuditRecord, genesis, installation, seal
from deployer.store.database import Connection, Database

GUARDS = frozenset({"audit_appends", "audit_no_update", "audit_no_delete"})
FORMAT = 1  # of an exported file
_OTHER = "record 1 does not begin the log of this installation: it was changed, or it is that of another"


@dataclass(frozen=True)
class Chain:
    """What following the chain found: `records` that follow each other, and the hash of the last of them.

    `broken` is the number of the first record that is wrong or missing and `problem` says how; 0 and "" where all is
    well. `since` counts the records after the hash that was known, None when none was given or it was not met.
    """

    records: int
    head: str
    broken: int = 0
    problem: str = ""
    since: int | None = None


def follow(rows: Iterable[Mapping[str, Any]], start: str, *, numbered: int = 0, known: str = "") -> Chain:
    """Follow records from the hash `start`.

    `numbered` is how many were ever written as far as it is known, `known` a hash that the log once ended with.
    """
    count, head, met = 0, start, None if known != start else 0
    for row in rows:
        problem = _wrong(row, count, head)
        if problem:
            return Chain(count, head, count + 1, problem)
        count, head = count + 1, str(row["hash"])
        met = count if head == known else met
    since = None if met is None else count - met
    if numbered > count:
        return Chain(count, head, count + 1, f"{_records(count + 1, numbered)} missing at the end", since)
    if known and since is None:
        return Chain(
            count, head, count + 1, f"no record has the hash {known}: records after it are missing, or rewritten"
        )
    return Chain(count, head, since=since)


def _wrong(row: Mapping[str, Any], count: int, head: str) -> str:
    n = count + 1
    if row.get("n") != n:
        return f"record {n} is missing: {row.get('n')} comes next"
    if set(row) != set(COLUMNS):
        return f"record {n} has not the fields of a record"
    if row["hash"] != seal(row):
        return f"record {n} was changed: its hash is not that of what it says"
    if row["before"] != head:
        return f"record {n} does not follow record {count}, one of them was changed" if count else _OTHER
    return ""


def _records(first: int, last: int) -> str:
    return f"record {first} is" if first == last else f"records {first} to {last} are"


# -- in the store


class AuditLog:
    """The audit log in a store, for reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def newest(self, limit: int, service: str = "") -> tuple[AuditRecord, ...]:
        """Return the newest records (of a service), the newest first."""
        where, values = ("where service = ?", (service,)) if service else ("", ())
        query = f"select {', '.join(COLUMNS)} from audit {where} order by n desc limit ?"  # noqa: S608 - constant names
        with self._database.moment() as db:
            return tuple(AuditRecord(**dict(row)) for row in db.execute(query, (*values, limit)))

    def moments(self, service: str, action: str) -> tuple[float, ...]:
        """Return the time at which an action of a service was recorded, Unix seconds."""
        with self._database.moment() as db:
            rows = db.execute("select at from audit where service = ? and action = ? order by n", (service, action))
            return tuple(datetime.fromisoformat(row["at"]).timestamp() for row in rows)

    def verify(self, known: str = "") -> Chain:
        """Follow the whole chain; a log without its guards is broken too."""
        with self._database.moment() as db:
            chain = follow(_rows(db), genesis(installation(db)), numbered=db.last_number("audit"), known=known)
            there = db.triggers()
        if GUARDS - there and not chain.broken:
            problem = f"the store has lost what keeps records as they are: {', '.join(sorted(GUARDS - there))}"
            return Chain(chain.records, chain.head, chain.records + 1, problem, chain.since)
        return chain

    def export(self) -> Iterator[str]:
        """Yield the log as JSON lines: what it belongs to and how long it is, then each record."""
        with self._database.moment() as db:
            last = db.execute("select n, hash from audit order by n desc limit 1").fetchone()
            head = {
                "audit": FORMAT,
                "installation": installation(db),
                "records": last["n"] if last else 0,
                "head": last["hash"] if last else genesis(installation(db)),
            }
            yield json.dumps(head)
            for row in _rows(db):
                yield json.dumps(row, default=repr)


def _rows(db: Connection) -> Iterator[dict[str, Any]]:
    for row in db.execute(f"select {', '.join(COLUMNS)} from audit order by n"):  # noqa: S608 - constant names
        yield dict(row)


# -- in a file


def verify_file(path: Path, known: str = "") -> Chain:
    """Follow the chain of an exported file. Raises Refused when it is none."""
    try:
        with path.open(encoding="utf-8") as lines:
            head = _line(next(lines, ""))
            if head.get("audit") != FORMAT or not isinstance(head.get("records"), int):
                raise Refused(f"{path} is not an exported audit log", "`deploy audit export -o FILE` writes one")
            start = genesis(str(head.get("installation")))
            return follow(map(_line, lines), start, numbered=head["records"], known=known)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{path} cannot be read: {error}", "name a file that `deploy audit export` wrote") from None


def _line(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

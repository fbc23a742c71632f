"""Making a store, and bringing one of an earlier version to the present schema."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from deployer.core import files
from deployer.core.errors import Locked, Refused, StoreDamaged
from deployer.core.filelock import is_held
from deployer.store import damage
from deployer.store.schema import MIGRATIONS
from deployer.store.sqlite.connection import SqliteConnection


def make(path: Path) -> None:
    """Make a new store: it appears under its name when all of it is there, so that an empty file is never a store."""
    for left in path.parent.glob(f".{path.name}.*"):
        left.unlink()
    temporary = path.with_name(f".{path.name}.new")
    os.close(files.new(temporary))
    with closing(_opened(str(temporary))) as db:
        _set_up(db)
        db.execute("begin")
        _migrate(db, 0)
        db.execute("commit")
    temporary.rename(path)
    files.sync(path.parent)


def connect(path: Path, busy: float) -> SqliteConnection:
    """Open a store for threads that share the connection by turns; wait `busy` seconds for other writers.

    Raises StoreDamaged for an empty file, before SQLite would take it for a new store, and Refused for the store of a
    newer version.
    """
    if path.stat().st_size == 0:
        raise damage.damaged(path, "the file is empty")
    uri = f"{path.absolute().as_uri()}?mode=rw"
    connection = _opened(uri, uri=True, timeout=busy)
    try:
        connection.row_factory = sqlite3.Row
        _version(connection, path)
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _opened(where: str, *, uri: bool = False, timeout: float = 5.0) -> SqliteConnection:
    return sqlite3.connect(
        where, uri=uri, timeout=timeout, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )


def copied(path: Path) -> SqliteConnection | None:
    """Open a copy of a store for queries; return None if the copy is not whole, since another process wrote meanwhile.

    The copy is in memory where that can be: the disk of the store takes no writes. It is gone when this returns, but
    for the open connection.
    """
    import shutil
    import tempfile

    memory = Path("/dev/shm")  # noqa: S108 (the copy is in a new folder of its own)
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        copy = Path(folder) / path.name
        for part in ("", "-wal"):
            file = path.with_name(path.name + part)
            if file.exists():
                shutil.copy(file, copy.with_name(copy.name + part))
        connection = connect(copy, busy=0)
        try:
            connection.execute("pragma query_only = on")
            damage.whole(connection, copy)
        except StoreDamaged:
            connection.close()
            return None
        return connection


def _set_up(connection: SqliteConnection) -> None:
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = full")
    connection.execute("pragma foreign_keys = on")


def outdated(connection: SqliteConnection, path: Path) -> bool:
    """Return whether the store has an earlier schema than this version."""
    return _version(connection, path) < len(MIGRATIONS)


def apply(connection: SqliteConnection, path: Path) -> None:
    """Bring the store to the present schema, all at once, after a backup beside it; nothing to do is no error.

    Raises Locked while an earlier version is at work on it, and StoreDamaged before anything is changed.
    """
    damage.whole(connection, path)
    connection.execute("begin immediate")
    try:
        version = _version(connection, path)
        if version < len(MIGRATIONS):
            _refuse_in_use(connection, path)
            backup(path, f"schema{version}")
            _migrate(connection, version)
            _refuse_dangling(connection, path)
        connection.execute("commit")
    except BaseException:
        if connection.in_transaction:
            connection.execute("rollback")
        raise


def refuse_other_tables(connection: SqliteConnection, path: Path) -> None:
    """Raise StoreDamaged where the columns of tables are not those of their schema: an unreleased version made them.

    Tables that somebody else has added are no matter of deployer.
    """
    with closing(_opened(":memory:")) as model:
        for script in MIGRATIONS[: _version(connection, path)]:
            model.executescript(script)
        wanted = _columns(model)
    found = _columns(connection)
    if other := sorted(table for table in wanted if wanted[table] != found.get(table)):
        raise damage.damaged(path, f"these tables differ from those of this version of deployer: {', '.join(other)}")


def _columns(connection: SqliteConnection) -> dict[str, set[str]]:
    tables = connection.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
    return {
        table: {column for (column,) in connection.execute("select name from pragma_table_info(?)", (table,))}
        for (table,) in tables.fetchall()
    }


def backup(path: Path, what: str) -> Path:
    """Copy a store beside it as it is now, 0600, on disk when this returns: `deployer.db.WHAT-20260131T120500Z`.

    Other processes may write meanwhile. Raises sqlite3.Error or OSError; no copy is left then.
    """
    target = path.with_name(f"{path.name}.{what}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    temporary = path.with_name(f".{target.name}")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as source,
            closing(_opened(str(temporary))) as copy,
        ):
            source.backup(copy)
            copy.execute("pragma journal_mode = delete")  # one file, which needs nothing beside it
            damage.whole(copy, temporary)
        os.fsync(descriptor)
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    files.sync(path.parent)
    return target


def _version(connection: SqliteConnection, path: Path) -> int:
    version = int(connection.execute("pragma user_version").fetchone()[0])
    if version > len(MIGRATIONS):
        raise Refused(
            f"the store {path} has schema {version}, this version knows {len(MIGRATIONS)}",
            "use the newer deployer that wrote it",
        )
    if version < 1:
        raise damage.damaged(path, "it is a database, but not one of deployer")
    return version


def _migrate(connection: SqliteConnection, version: int) -> None:
    for number, script in enumerate(MIGRATIONS[version:], version + 1):
        for statement in statements(script):
            connection.execute(statement)
        connection.execute(f"pragma user_version = {number}")


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script, triggers in one piece; `executescript` would end the transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement


def _refuse_in_use(connection: SqliteConnection, path: Path) -> None:
    """Refuse to change the tables under the feet of a living process that has a lock."""
    for row in connection.execute("select * from locks"):
        if is_held(path.parent / "locks" / f"{row['service']}.lock"):
            raise Locked(
                f"the store {path} is of an earlier version of deployer, and {row['service']} is being changed by"
                f" {row['owner']} (pid {row['pid']}) with it",
                "wait until that has ended",
            )


def _refuse_dangling(connection: SqliteConnection, path: Path) -> None:
    dangling = connection.execute("pragma foreign_key_check").fetchall()
    if dangling:
        raise damage.damaged(
            path, f"{len(dangling)} rows of {dangling[0][0]} refer to rows of {dangling[0][2]} that are gone"
        )

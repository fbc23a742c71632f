"""One SQLite file: opening, migrations, transactions.

WAL mode with full synchronisation: what was committed survives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.errors import Refused
from deployer.store.schema import MIGRATIONS

BUSY_SECONDS = 10.0


class Database:
    """A connection for each thread to the same file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._prepare()

    def _prepare(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path.touch(mode=0o600)
            with self.transaction() as db:
                version = int(db.execute("pragma user_version").fetchone()[0])
                if version > len(MIGRATIONS):
                    raise Refused(
                        f"the store {self.path} has schema {version}, this version knows {len(MIGRATIONS)}",
                        "use the newer deployer that wrote it",
                    )
                for number, script in enumerate(MIGRATIONS[version:], version + 1):
                    for statement in script.split(";\n"):
                        if statement.strip():
                            db.execute(statement)
                    db.execute(f"pragma user_version = {number}")
        except (OSError, sqlite3.Error) as error:
            raise Refused(
                f"the state folder cannot be used: {self.path}: {error}",
                "check its permissions and free space, or name another one with --state",
            ) from None

    @property
    def connection(self) -> sqlite3.Connection:
        """The connection of this thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            # Each thread keeps to its own; only `close` reaches over, when the others have ended.
            connection = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._opened.append(connection)
            connection.row_factory = sqlite3.Row
            connection.execute("pragma journal_mode = wal")
            connection.execute("pragma synchronous = full")
            connection.execute("pragma foreign_keys = on")
            self._local.connection = connection
        return connection

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run the block as one write transaction: all of it or nothing."""
        connection = self.connection
        connection.execute("begin immediate")
        try:
            yield connection
        except BaseException:
            connection.execute("rollback")
            raise
        connection.execute("commit")

    def close(self) -> None:
        """Close the connections of all threads."""
        while self._opened:
            self._opened.pop().close()
        self._local = threading.local()

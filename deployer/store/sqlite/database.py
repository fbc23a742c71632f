"""One SQLite file: opening, transactions, and what its errors mean.

WAL mode with full synchronisation: what was committed survives a power cut (https://sqlite.org/pragma.html#pragma_synchronous).
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from deployer.core.errors import StoreDamaged, StoreFailed
from deployer.core.filelock import FileLock
from deployer.core.lock_holders import holders
from deployer.core.undo import afterwards, undone
from deployer.store import damage
from deployer.store.privacy import private
from deployer.store.sqlite import migrate
from deployer.store.sqlite.connection import SqliteConnection

BUSY_SECONDS = 10.0
FULL_BYTES = 64 * 1024  # a disk with less than this is full
OWN_SECONDS = 30.0  # for another process that makes or migrates the store
# What opening says where nothing can be written: the index of the log has to be made.
UNWRITABLE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)


class SqliteDatabase:
    """One connection, shared by the threads of this process: each has it for the length of a query or transaction.

    Every method raises StoreFailed, with what to do, where SQLite or the file system does; StoreDamaged when the file
    is no store or not whole. A store is made only where there was none, unless `new` says that the old one was moved
    aside. Where nothing can be written, because the disk is full or read-only, a copy in memory answers queries, and
    `unwritable` says why a transaction raises StoreFailed.
    """

    def __init__(self, path: Path, *, new: bool = False) -> None:
        self.path = path
        self.unwritable: StoreFailed | None = None
        self._mutex = threading.RLock()
        self._connection: SqliteConnection | None = None
        with self._told(), self._told_of_files():
            private(path.parent)
            if not path.exists():
                self._make(new)
            damage.refuse_shortened(path)
            self._connection = self._connect()
            try:
                if self.unwritable is None:
                    self._migrate(self._connection)
            except BaseException:
                self.close()
                raise
            self._file = path.stat()

    def _connect(self) -> SqliteConnection:
        try:
            return migrate.connect(self.path, BUSY_SECONDS)
        except sqlite3.OperationalError as error:
            self.unwritable = self._meant(error)
            if self.unwritable is None or _code(error) not in UNWRITABLE:
                raise
            if (copied := migrate.copied(self.path)) is None:
                raise
            return copied

    def _make(self, new: bool) -> None:
        with FileLock(self.path.with_name("deployer.lock")).held(OWN_SECONDS):
            if self.path.exists():
                return
            if not new:
                damage.refuse_lost(self.path)
            migrate.make(self.path)

    def _migrate(self, connection: SqliteConnection) -> None:
        if migrate.outdated(connection, self.path):
            with FileLock(self.path.with_name("deployer.lock")).held(OWN_SECONDS):
                migrate.apply(connection, self.path)

    @contextmanager
    def reading(self) -> Iterator[SqliteConnection]:
        """Have the connection for queries."""
        with self._mutex, self._told():
            if self._connection is None:
                raise StoreFailed(f"the store {self.path} was closed", "this is a bug of deployer, please report it")
            yield self._connection

    def rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        """Return what a query gives."""
        with self.reading() as connection:
            return connection.execute(query, values).fetchall()

    @contextmanager
    def moment(self) -> Iterator[SqliteConnection]:
        """Have the connection for queries that all see one moment; text that is no UTF-8 is given escaped."""
        with self.reading() as db:
            db.execute("begin")
            usual, db.text_factory = db.text_factory, lambda raw: raw.decode("utf-8", "backslashreplace")
            try:
                with afterwards(lambda: _rolled_back(db)):
                    yield db
            finally:
                db.text_factory = usual

    @contextmanager
    def transaction(self) -> Iterator[SqliteConnection]:
        """Run the block as one write transaction: all of it or nothing."""
        if self.unwritable is not None:
            raise self.unwritable
        with self.reading() as connection:
            self.present()
            connection.execute("begin immediate")
            with undone(lambda: _rolled_back(connection)):
                self.present()  # once more: it may have been moved while this one waited for its turn
                yield connection
                connection.execute("commit")

    def present(self) -> None:
        """Raise StoreFailed when the file was removed or replaced since it was opened: nobody else sees it any more.

        The same for a copy once the store itself can be written again.
        """
        if self.unwritable is not None and self._opens():
            raise StoreFailed(f"the store {self.path} can be written again", "try again: the next attempt opens it")
        try:
            now = self.path.stat()
        except OSError:
            now = None
        if now is None or (now.st_dev, now.st_ino) != (self._file.st_dev, self._file.st_ino):
            raise StoreFailed(
                f"the store {self.path} was moved or removed while this process ran; it changes nothing any more",
                "see `deploy doctor`",
            )

    def _opens(self) -> bool:
        try:
            migrate.connect(self.path, busy=0).close()
        except (OSError, sqlite3.OperationalError):
            return False
        return True

    def whole(self) -> None:
        """Read all of it. Raises StoreDamaged when a part is not what it should be."""
        with self.reading() as connection:
            damage.whole(connection, self.path)
            migrate.refuse_other_tables(connection, self.path)

    def close(self) -> None:
        """Close the connection."""
        with self._mutex:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            meant = self._meant(error)
            if meant is None:
                raise
            raise meant from error

    @contextmanager
    def _told_of_files(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreFailed(
                f"the state folder cannot be used: {error.filename or self.path}: {error.strerror or error}",
                "check its permissions and free space, or name another one with --state",
            ) from error

    def _meant(self, error: sqlite3.Error) -> StoreFailed | None:
        """Return what an error of SQLite means for people (https://sqlite.org/rescode.html); None for a bug."""
        import shutil

        code = _code(error)
        if code == sqlite3.SQLITE_IOERR and shutil.disk_usage(self.path.parent).free < FULL_BYTES:
            code = sqlite3.SQLITE_FULL  # some writes fail so, that of the index of the log for one
        match code:
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return damage.damaged(self.path, str(error))
            case sqlite3.SQLITE_ERROR if self._connection is not None:
                try:
                    migrate.refuse_other_tables(self._connection, self.path)
                except StoreDamaged as damaged:
                    return damaged
            case sqlite3.SQLITE_FULL:
                return StoreFailed(
                    f"the store {self.path} cannot be written: no space is left",
                    "free some (`deploy doctor` says where); what was done before is recorded",
                )
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                by = ", ".join(holders(self.path.with_name(self.path.name + "-shm"), writing=True)) or "another process"
                return StoreFailed(
                    f"the store {self.path} is being written by {by} for more than {BUSY_SECONDS:g} s",
                    "let it go on (kill -CONT) or end it (kill -9): nothing is lost by that",
                )
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_PERM:
                why = _refusal(self.path.parent)
                return StoreFailed(
                    f"the store {self.path} cannot be {f'written: {why}' if why else f'used: {error}'}",
                    "check the permissions of its folder, and the disk; or name another folder with --state",
                )
        return None


def _refusal(folder: Path) -> str:
    """Return why nothing can be written into a folder, which SQLite does not tell; "" where that is not why."""
    if os.statvfs(folder).f_flag & os.ST_RDONLY:
        return os.strerror(errno.EROFS)
    return "" if os.access(folder, os.W_OK) else os.strerror(errno.EACCES)


def _rolled_back(db: SqliteConnection) -> None:
    """Roll back what SQLite itself has not: it does after some errors."""
    if db.in_transaction:
        db.execute("rollback")


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary code of an error; 255 for one that is not of SQLite."""
    return getattr(error, "sqlite_errorcode", -1) & 0xFF

"""One PostgreSQL database, or a schema of it: opening, transactions, and what its errors mean.

Writers take turns by a lock that ends with the transaction: from its first statement on a transaction is alone with the
tables, as in SQLite. A process that is stopped in a transaction is cut off by the server: others can go on.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import psycopg
from psycopg import errors

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused, StoreDamaged, StoreFailed
from deployer.store.address import EXAMPLE, without_password
from deployer.store.postgres import schema
from deployer.store.postgres.connection import PostgresConnection
from deployer.store.schema import MIGRATIONS

MIGRATE_SECONDS = 30  # for another process that makes or migrates the tables
WRITE_SECONDS = 10  # that a transaction waits for another writer, and a statement of it for its end
STOPPED_SECONDS = 5  # that a transaction may be left lying before the server ends it
CONNECT_SECONDS = 5.0
BACK_SECONDS = 10.0  # for a database that restarts, or fails over
BEGIN = (
    f"begin; set local lock_timeout = '{WRITE_SECONDS}s'; set local statement_timeout = '{WRITE_SECONDS}s';"
    f" set local idle_in_transaction_session_timeout = '{STOPPED_SECONDS}s';"
    " select pg_advisory_xact_lock(1684107372, hashtext(current_schema()))"  # the first number is `depl`
)


class PostgresDatabase:
    """One connection, shared by the threads of this process, and opened again when it is lost.

    `address` is that of libpq, with several hosts or a password file if need be; `name` has no password.
    """

    def __init__(self, address: str, clock: Clock) -> None:
        self.address, self.name = address, without_password(address)
        self.unwritable: StoreFailed | None = None
        self.clock = clock
        self._mutex = threading.RLock()
        self._open = True
        self._within = False  # a transaction
        self._gone = False  # it was waited for in vain: who asks next is told at once
        with self._told():
            self._connection = self._connect()
            try:
                self._migrate()
            except BaseException:
                self._connection.close()
                raise

    # -- the connection

    def _connect(self) -> PostgresConnection:
        """Open a connection; a database that is just being restarted is waited for, once."""
        patience = Deadline.after(self.clock, 0.0 if self._gone else BACK_SECONDS)
        who = f"deployer {os.getpid()}@{socket.gethostname()}"[:63]
        while True:
            try:
                made = PostgresConnection(self.address, who, min(CONNECT_SECONDS, max(1.0, patience.left())))
                break
            except psycopg.ProgrammingError as error:
                raise Refused(f"{self.name} cannot be read: {_said(error)}", f"write it like {EXAMPLE}") from None
            except psycopg.OperationalError as error:
                if patience.left() <= 0 or not _passes(error):
                    self._gone = True
                    raise
                self.clock.sleep(0.2)
        row = made.execute(
            "select current_schema() as schema, current_setting('transaction_read_only') as no"
        ).fetchone()
        if row["schema"] is None:
            made.close()
            raise Refused(f"{self.name} has no schema for the tables", "create it, or change search_path of its user")
        self.unwritable, self._gone = None, False
        if row["no"] == "on":
            why = f"the database {self.name} takes no writes: it is a standby, or set to be read only"
            self.unwritable = StoreFailed(why, "name the primary; with several hosts: target_session_attrs=read-write")
        return made

    @contextmanager
    def reading(self) -> Iterator[PostgresConnection]:
        """Have the connection for queries."""
        with self._mutex, self._told():
            if not self._open:
                raise StoreFailed(f"the store {self.name} was closed", "this is a bug of deployer, please report it")
            if self._connection.lost and not self._within:
                self._connection = self._connect()
            yield self._connection

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Return what a query gives; it is asked again on a new connection where the old one turns out to be lost."""
        with self.reading() as db:
            try:
                return db.execute(query, values).fetchall()
            except psycopg.OperationalError:
                if self._within or not db.lost:
                    raise
        with self.reading() as db:
            return db.execute(query, values).fetchall()

    @contextmanager
    def moment(self) -> Iterator[PostgresConnection]:
        """Have the connection for queries that all see one moment."""
        with self.reading() as db:
            db = self._begun(db, "begin isolation level repeatable read, read only")
            try:
                yield db
            finally:
                with suppress(psycopg.OperationalError):  # lost: there is nothing to end
                    db.execute("rollback")

    @contextmanager
    def transaction(self, begin: str = "") -> Iterator[PostgresConnection]:
        """Run the block as one write transaction; inside another one of this thread it is a part of that."""
        if self.unwritable is not None:
            raise self.unwritable
        with self.reading() as db:
            if self._within:  # a lock and the claim of its owner are written together, or neither is
                yield db
                return
            db = self._begun(db, begin or BEGIN)
            self._within = True
            try:
                yield db
                self._commit(db)
            except BaseException:
                with suppress(psycopg.OperationalError):  # lost: the server has rolled back
                    db.execute("rollback")
                raise
            finally:
                self._within = False

    def _begun(self, db: PostgresConnection, begin: str) -> PostgresConnection:
        """Begin; nothing was done yet, so that a connection which turns out to be lost is opened again."""
        try:
            db.execute(begin)
        except psycopg.OperationalError:
            if not db.lost:
                db.execute("rollback")
                raise
            db = self._connection = self._connect()
            db.execute(begin)
        return db

    def _commit(self, db: PostgresConnection) -> None:
        if db.failed:
            raise StoreFailed(
                f"a statement of a change of {self.name} has failed: nothing of that change is recorded", "try again"
            )
        try:
            db.execute("commit")
        except psycopg.OperationalError as error:
            raise StoreFailed(
                f"the connection to {self.name} was lost while a change was being committed ({_said(error)}):"
                " whether it is recorded is not known",
                "`deploy status` shows what is recorded; `deploy resume` goes on from there",
            ) from error

    def present(self) -> None:
        """Raise StoreFailed when a database that took no writes takes them again."""
        if self.unwritable is None:
            return
        with self.reading() as db:
            if db.execute("select current_setting('transaction_read_only')").fetchone()[0] == "off":
                raise StoreFailed(f"{self.name} can be written again", "try again: the next attempt opens it")

    def whole(self) -> None:
        """Read all tables. Raise StoreDamaged when one cannot be read."""
        with self.moment() as db:
            tables = db.execute("select tablename from pg_tables where schemaname = current_schema() order by 1")
            for (table,) in tables.fetchall():
                db.execute(f'select count(t::text) from "{table}" t')  # noqa: S608 - of the database itself

    def close(self) -> None:
        """Close the connection."""
        with self._mutex:
            self._open = False
            self._connection.close()

    # -- the schema

    def _migrate(self) -> None:
        if self._version(self._connection) == len(MIGRATIONS) or self.unwritable is not None:
            return
        self._connection.patience = MIGRATE_SECONDS + 5.0
        with self.transaction(BEGIN.replace(f"'{WRITE_SECONDS}s'", f"'{MIGRATE_SECONDS}s'")) as db:
            version = self._version(db)
            for statement in () if version else schema.FIRST:
                db.execute(statement)
            for number, script in enumerate(MIGRATIONS[version:], version + 1):
                for statement in schema.statements(script):
                    db.execute(statement)
                db.execute("update schema_version set version = ?", (number,))
        self._connection.patience = 0.0

    def _version(self, db: PostgresConnection) -> int:
        # Read from the catalogue: to_regclass may not see yet what was made while this waited for its turn.
        made = "select 1 from pg_tables where schemaname = current_schema() and tablename = 'schema_version'"
        if db.execute(made).fetchone() is None:
            return 0
        version = int(db.execute("select version from schema_version").fetchone()["version"])
        if version > len(MIGRATIONS):
            raise Refused(
                f"the store {self.name} has schema {version}, this version knows {len(MIGRATIONS)}",
                "use the newer deployer that wrote it",
            )
        return version

    # -- errors

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self._raise(error)

    def _raise(self, error: psycopg.Error) -> NoReturn:
        """Raise what an error of PostgreSQL means for people; or the error itself, where it is a bug of deployer."""
        match error:
            case errors.LockNotAvailable():
                raise StoreFailed(
                    f"the store {self.name} is being written by another process for more than {WRITE_SECONDS} s",
                    "pg_stat_activity there shows which; try again when it has ended",
                ) from error
            case errors.IdleInTransactionSessionTimeout():
                raise StoreFailed(
                    f"this process was stopped for more than {STOPPED_SECONDS} s while it changed the store"
                    f" {self.name}: nothing of that change is recorded",
                    "try again",
                ) from error
            case errors.DiskFull():
                raise StoreFailed(
                    f"the store {self.name} cannot be written: no space is left there",
                    "free some on the host of the database; what was done before is recorded",
                ) from error
            case errors.ReadOnlySqlTransaction():
                raise StoreFailed(f"the database {self.name} takes no writes now", "name its primary") from error
            case errors.UndefinedTable():
                raise StoreFailed(
                    f"the records of {self.name} are not there any more: they were moved, or removed",
                    "see which store this folder works with: `deploy doctor`",
                ) from error
            case errors.InsufficientPrivilege():
                raise StoreFailed(
                    f"the user of {self.name} may not do that: {_said(error)}", "let it own the schema of the tables"
                ) from error
            case errors.DataCorrupted() | errors.IndexCorrupted():
                raise StoreDamaged(f"the store {self.name} is damaged: {_said(error)}", "restore a backup") from error
            case errors.QueryCanceled():
                raise StoreFailed(
                    f"the database {self.name} did not finish a statement within {WRITE_SECONDS} s", "see its load"
                ) from error
            case psycopg.OperationalError():
                raise StoreFailed(
                    f"the database {self.name} cannot be used: {_said(error)}",
                    "see that it runs and is reached from here; `deploy rollback` and `deploy abort` work without it",
                ) from error
        raise error


def _passes(error: psycopg.OperationalError) -> bool:
    """Return whether a failed connection may be one of a moment: refused logins do not pass by themselves."""
    return not re.search(
        r"(?i)authentication|password|does not exist|no pg_hba|could not translate|invalid", str(error)
    )


def _said(error: psycopg.Error) -> str:
    """Return the sentence of an error, in one line."""
    return " ".join(str(error).split()) or type(error).__name__

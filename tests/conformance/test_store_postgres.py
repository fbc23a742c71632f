"""PostgreSQL as the store, where it goes wrong: gone, stopped, ended in the middle, kept busy, of another schema."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import Refused, StoreFailed
from deployer.store import Store, schema
from deployer.store.address import without_password
from deployer.store.postgres import database as module
from deployer.store.postgres.database import PostgresDatabase
from deployer.store.postgres.shared import opened
from tests.disks import mounted
from tests.postgres import USER, Server

pytestmark = pytest.mark.xdist_group("postgres")


@pytest.fixture
def address(postgres: Server) -> str:
    return postgres.schema()


@pytest.fixture
def db(address: str) -> Iterator[PostgresDatabase]:
    opened = PostgresDatabase(address, SystemClock())
    yield opened
    opened.close()


def end_all(postgres: Server) -> None:
    """Let the server end all connections but this one."""
    with psycopg.connect(postgres.address(), autocommit=True) as admin:
        admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid != pg_backend_pid() and backend_type = 'client backend'"
        )


def put(db: PostgresDatabase, *keys: str, between: Callable[[], object] = lambda: None) -> None:
    """Write keys in one transaction; `between` happens after each of them."""
    with db.transaction() as connection:
        for key in keys:
            connection.execute("insert into meta values (?, '')", (key,))
            between()


def keys(db: PostgresDatabase) -> list[str]:
    return [row["key"] for row in db.rows("select key from meta order by 1")]


def test_a_connection_that_was_ended_between_two_statements_is_opened_again(
    postgres: Server, db: PostgresDatabase
) -> None:
    put(db, "a")
    end_all(postgres)
    assert keys(db) == ["a"]
    end_all(postgres)
    put(db, "b")
    end_all(postgres)
    with db.moment() as connection:
        assert len(connection.execute("select * from meta").fetchall()) == 2


def test_a_transaction_that_was_ended_in_the_middle_left_nothing(postgres: Server, db: PostgresDatabase) -> None:
    with pytest.raises(StoreFailed, match="cannot be used: terminating connection"):
        put(db, "a", "b", between=lambda: end_all(postgres))
    assert keys(db) == []


def test_a_change_of_which_a_statement_failed_is_not_taken_for_recorded(db: PostgresDatabase) -> None:
    """A commit of such a transaction undoes it without an error, whoever lets go of the statement's."""

    def fail() -> None:
        with suppress(StoreFailed), db.transaction() as inner:
            inner.execute("insert into nowhere values (1)")

    with pytest.raises(StoreFailed, match="nothing of that change is recorded"):
        put(db, "a", between=fail)
    assert keys(db) == []
    put(db, "b")
    assert keys(db) == ["b"]


def test_an_end_in_the_commit_is_told_as_not_known(postgres: Server, db: PostgresDatabase) -> None:
    with pytest.raises(StoreFailed, match="whether it is recorded is not known"):
        put(db, "a", between=lambda: end_all(postgres))
    assert keys(db) == []


def test_a_database_that_is_down_is_said_and_used_again_when_it_is_back(
    postgres: Server, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACK_SECONDS", 0.3)
    put(db, "a")
    postgres.stop("immediate")
    try:
        for ask in (lambda: keys(db), lambda: put(db, "b")):
            with pytest.raises(StoreFailed, match="cannot be used") as failed:
                ask()
            assert "deploy rollback" in failed.value.hint
    finally:
        postgres.start()
    put(db, "b")
    assert keys(db) == ["a", "b"]


class Counting(SystemClock):
    """Counts how often somebody waits."""

    slept = 0

    def sleep(self, seconds: float) -> None:
        self.slept += 1
        super().sleep(seconds)


def test_a_database_that_was_waited_for_in_vain_is_not_waited_for_again(
    postgres: Server, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command ends soon after its database is gone, however often it asks on its way out."""
    monkeypatch.setattr(module, "BACK_SECONDS", 1.0)
    clock = Counting()
    db = PostgresDatabase(address, clock)
    postgres.stop("immediate")
    try:
        with pytest.raises(StoreFailed, match="cannot be used"):
            keys(db)
        waited = clock.slept
        assert waited > 0
        for ask in (lambda: keys(db), lambda: put(db, "b")):
            with pytest.raises(StoreFailed, match="cannot be used"):
                ask()
        assert clock.slept == waited
    finally:
        postgres.start()
    put(db, "b")
    db.close()


def test_a_restart_is_waited_for(postgres: Server, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_SECONDS", 120.0)  # what a start takes on a busy host
    postgres.stop("immediate")
    back = threading.Thread(target=postgres.start)
    back.start()
    try:
        put(db, "a")
    finally:
        back.join()
    assert keys(db) == ["a"]


def test_who_is_stopped_in_a_transaction_blocks_nobody_for_long(
    address: str, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient = module.BEGIN
    other = PostgresDatabase(address, SystemClock())

    def others_write() -> None:
        """Wait until the server has ended the first one; nobody else is in a hurry."""
        monkeypatch.setattr(module, "BEGIN", patient)
        put(other, "b")

    try:
        monkeypatch.setattr(module, "BEGIN", patient.replace("timeout = '5s'", "timeout = '2s'"))
        with pytest.raises(StoreFailed, match="was stopped for more than"):
            put(db, "a", "c", between=others_write)
        assert keys(other) == ["b"]
        put(db, "d")
    finally:
        other.close()


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(
    address: str, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = PostgresDatabase(address, SystemClock())
    monkeypatch.setattr(module, "BEGIN", module.BEGIN.replace("timeout = '5s'", "timeout = '60s'"))
    try:
        with db.transaction():
            monkeypatch.setattr(module, "BEGIN", module.BEGIN.replace("lock_timeout = '10s'", "lock_timeout = '100ms'"))
            with pytest.raises(StoreFailed, match="is being written by another process"):
                put(other, "a")
        put(other, "a")
        assert keys(db) == ["a"]
    finally:
        other.close()


def test_a_slow_database_is_said(db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> None:
        db.rows("select set_config('statement_timeout', '100ms', true)")
        db.rows("select pg_sleep(20)")

    with pytest.raises(StoreFailed, match="did not finish a statement within 10 s") as told:
        put(db, "a", between=slow)
    assert told.value.hint
    assert keys(db) == [], "nothing of the change is recorded"


def test_a_full_disk_there_is_said_and_used_again_when_there_is_room(postgres: Server) -> None:
    """The tables are on a small disk of their own, until they outgrow it."""
    place = postgres.folder / "small"
    place.mkdir()
    with mounted(place, "4m"), psycopg.connect(postgres.address(), autocommit=True) as admin:
        shutil.chown(place, USER)
        admin.execute(f"create tablespace small location '{place}'".encode())
        mine = postgres.schema()
        db = PostgresDatabase(f"{mine}%20-cdefault_tablespace%3Dsmall", SystemClock())
        try:
            put(db, "a")
            (place / "room").write_bytes(bytes(1 << 19))
            with pytest.raises(StoreFailed, match="no space is left there") as told:
                put(db, *(os.urandom(1 << 9).hex() for _ in range(3000)))
            assert "what was done before is recorded" in told.value.hint
            assert keys(db) == ["a"]
            (place / "room").unlink()
            put(db, "b")
            assert keys(db) == ["a", "b"]
        finally:
            db.close()
            admin.execute(f"drop schema {mine.rpartition('%3D')[2]} cascade".encode())
        admin.execute(b"drop tablespace small")


def test_a_server_that_answers_nothing_is_given_up(
    postgres: Server, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployer.store.postgres.connection.ANSWER_SECONDS", 2.0)
    with db.reading() as connection:
        backend = int(connection.execute("select pg_backend_pid()").fetchone()[0])
    os.kill(backend, signal.SIGSTOP)
    try:
        put(db, "a")  # by another connection
        assert keys(db) == ["a"]
    finally:
        os.kill(backend, signal.SIGCONT)


def test_many_that_open_it_first_make_it_once(address: str) -> None:
    made: list[PostgresDatabase] = []
    threads = [threading.Thread(target=lambda: made.append(PostgresDatabase(address, SystemClock()))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(made) == 4
    assert made[0].rows("select version from schema_version")[0]["version"] == len(schema.MIGRATIONS)
    for database in made:
        database.close()


def test_a_store_of_a_later_schema_is_refused(address: str, db: PostgresDatabase) -> None:
    with db.transaction() as connection:
        connection.execute("update schema_version set version = 99")
    with pytest.raises(Refused, match="has schema 99, this version knows"):
        PostgresDatabase(address, SystemClock())


def test_a_later_schema_is_reached_all_at_once(
    address: str, db: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(db, "a")
    broken = (*schema.MIGRATIONS, "create table more (n integer primary key);\ncreate table meta (n integer);\n")
    monkeypatch.setattr("deployer.store.postgres.database.MIGRATIONS", broken)
    with pytest.raises(psycopg.Error, match="already exists"):
        PostgresDatabase(address, SystemClock())
    monkeypatch.setattr(
        "deployer.store.postgres.database.MIGRATIONS", (*broken[:-1], "create table more (n integer primary key);\n")
    )
    later = PostgresDatabase(address, SystemClock())
    assert keys(later) == ["a"]
    assert later.rows("select * from more") == []
    later.close()


def test_a_standby_answers_and_takes_no_writes(postgres: Server, address: str, db: PostgresDatabase) -> None:
    put(db, "a")
    standby = PostgresDatabase(f"{address}%20-cdefault_transaction_read_only%3Don", SystemClock())
    try:
        assert keys(standby) == ["a"]
        with pytest.raises(StoreFailed, match="takes no writes"):
            put(standby, "b")
    finally:
        standby.close()


def test_bad_addresses_say_what_is_wrong_and_show_no_password(postgres: Server, state: Path) -> None:
    wrong = f"postgresql://nobody:geheim@/postgres?host={postgres.folder}"
    clock = Counting()
    with pytest.raises(StoreFailed, match='role "nobody" does not exist') as failed:
        PostgresDatabase(wrong, clock)
    assert not clock.slept, "that does not pass by itself"
    assert "geheim" not in str(failed.value) + failed.value.message
    with pytest.raises(Refused, match="no schema"):
        PostgresDatabase(postgres.address("absent"), SystemClock())


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://me:secret@db/x", "postgresql://me@db/x"),
        ("postgresql://me@db/x?password=secret&a=b", "postgresql://me@db/x?a=b"),
        ("postgresql://me@db/x?sslpassword=secret", "postgresql://me@db/x"),
        ("postgresql:///x", "postgresql:///x"),
    ],
)
def test_a_password_is_never_shown(address: str, shown: str) -> None:
    assert without_password(address) == shown


def test_a_store_is_opened_in_it(address: str, state: Path) -> None:
    first = Store(state, SystemClock(), shared=opened(address, SystemClock()))
    second = Store(state, SystemClock(), shared=opened(address, SystemClock()))
    assert first.secret("installation") == second.secret("installation")
    assert not first.file.exists()
    first.close()
    second.close()

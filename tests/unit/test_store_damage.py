"""A store that is damaged, gone, full, busy or locked away: said in words, never written over, moved aside whole."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from deployer import cli
from deployer.core.clock import SystemClock
from deployer.core.errors import Locked, StoreDamaged, StoreFailed
from deployer.core.filelock import FileLock
from deployer.model import SecretText
from deployer.server.context import Stores
from deployer.store import Store, meta, move_aside
from deployer.store.vault import KEY, Vault
from tests.disks import mounted, remount
from tests.house import Scene
from tests.services import require

CLOCK = SystemClock()


@pytest.fixture
def used(state: Path) -> Path:
    """A state folder with a rollout in its store, closed in good order."""
    scene = Scene(state)
    with scene.house:
        scene.deploy("1.0")
    assert not (state / "deployer.db-wal").exists()
    return state


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "deployer.lock"}


def look(folder: Path) -> None:
    """Open the store of a folder, and read all of it."""
    with closing(Store(folder, CLOCK).database) as db:
        db.whole()


def cut(size: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:size]


def zeroed(begin: int, end: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:begin] + bytes(end - begin) + data[end:]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "emptied": cut(0),
    "cut to its header": cut(100),
    "cut in the middle of a page": cut(5000),
    "cut to a half": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "a page of zeros": zeroed(4096, 8192),
    "the first page of zeros": zeroed(0, 4096),
    "noise": lambda data: os.urandom(len(data)),
    "text": lambda data: b"not a database, but long enough to look at" * 50,
}
every_damage = pytest.mark.parametrize("harm", DAMAGE.values(), ids=[name.replace(" ", "-") for name in DAMAGE])


@every_damage
def test_a_damaged_store_is_refused_before_anything_changes(used: Path, harm: Callable[[bytes], bytes]) -> None:
    file = used / "deployer.db"
    file.write_bytes(harm(file.read_bytes()))
    before = file.read_bytes()
    with pytest.raises(StoreDamaged) as told:
        look(used)
    assert str(file) in told.value.message
    assert "deploy adopt" in told.value.hint
    assert file.read_bytes() == before


COMMANDS = ("status", "history", "releases", "doctor", "show", "promote", "abort", "resume", "rollback")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_in_two_lines(used: Path, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    (used / "deployer.db").write_bytes(b"")
    assert cli.main([command, "--state", str(used)]) == 2
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0] == f"error: the store {used}/deployer.db is damaged: the file is empty"
    assert said[1].startswith("  → `deploy adopt`")


def test_a_database_of_somebody_else_is_left_alone(state: Path) -> None:
    with closing(sqlite3.connect(state / "deployer.db")) as db:
        db.execute("create table theirs (x)")
    before = contents(state)
    with pytest.raises(StoreDamaged, match="not one of deployer"):
        Store(state, CLOCK)
    assert contents(state) == before


def change(folder: Path, statement: str) -> None:
    """Change the tables behind the back of the store."""
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        db.execute(statement)


def test_a_store_of_an_unreleased_version_is_told_from_a_bug(used: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(used, "drop table needs")
    assert cli.main(["status", "--state", str(used)]) == 2
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].endswith("is damaged: these tables differ from those of this version of deployer: needs")
    assert said[1].startswith("  → `deploy adopt`")


def test_a_store_without_a_column_is_not_whole(used: Path) -> None:
    change(used, "alter table services drop column contracted")
    with (
        closing(Store(used, CLOCK).database) as db,
        pytest.raises(StoreDamaged, match="this version of deployer: services"),
    ):
        db.whole()


def test_a_wrong_query_is_no_damage(used: Path) -> None:
    with closing(Store(used, CLOCK).database) as db:
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            db.rows("select * from absent")
        with db.transaction() as connection:
            connection.execute("create table theirs (x)")
        db.whole()


# -- the log


DIE = """
import os, signal, sys
from pathlib import Path
from deployer.core.clock import SystemClock
from deployer.store import Store
store = Store(Path(sys.argv[1]), SystemClock())
store.secret("written last")
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def killed(used: Path) -> Path:
    """A state folder whose last user was killed: what it wrote last is in the log only."""
    done = subprocess.run([sys.executable, "-c", DIE, str(used)], timeout=120)
    assert done.returncode == -signal.SIGKILL
    assert (used / "deployer.db-wal").stat().st_size > 0
    return used


def test_what_a_killed_process_wrote_is_there(killed: Path) -> None:
    with closing(Store(killed, CLOCK).database) as db, db.reading() as connection:
        assert connection.execute("select count(*) from meta where key = 'written last'").fetchone()[0] == 1


def test_a_log_that_was_taken_away_is_missed(killed: Path) -> None:
    (killed / "deployer.db-wal").unlink()
    before = contents(killed)
    with pytest.raises(StoreDamaged, match=r"deployer\.db-wal is missing, and with it the last changes"):
        Store(killed, CLOCK)
    assert contents(killed) == before


def test_a_log_that_is_all_in_the_store_is_not_missed(killed: Path) -> None:
    """A process may die between removing the log, which it wrote into the store, and the index of it."""
    with closing(sqlite3.connect(killed / "deployer.db")) as db:
        assert db.execute("pragma wal_checkpoint(full)").fetchone()[0] == 0
        index = (killed / "deployer.db-shm").read_bytes()
    (killed / "deployer.db-shm").write_bytes(index)
    assert not (killed / "deployer.db-wal").exists()
    with closing(Store(killed, CLOCK).database) as db:
        db.whole()


# -- a store that is gone


@pytest.mark.parametrize(
    "trace",
    [
        "deployer.db-wal",
        "proxy/services/shop.json",
        "secrets/shop/r1.json",
        "processes/shop-r1-1/log",
        "recordings/1.jsonl",
    ],
)
def test_a_store_that_is_gone_is_not_begun_anew(state: Path, trace: str) -> None:
    left = state / trace
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_text("{}")
    with pytest.raises(StoreDamaged, match="is gone, but a deployer has worked in this folder") as told:
        Store(state, CLOCK)
    assert "deploy adopt" in told.value.hint
    assert not (state / "deployer.db").exists()
    if trace != "deployer.db-wal":
        Store(state, CLOCK, new=True).database.close()
        Store(state, CLOCK).database.close()


def test_a_folder_of_other_things_is_no_trace(state: Path) -> None:
    (state / "strategies").mkdir()
    (state / "deploy.yml").write_text("service: shop\n")
    Store(state, CLOCK).database.close()


def test_a_store_that_was_being_made_is_made(state: Path) -> None:
    (state / ".deployer.db.new").write_bytes(b"half")
    (state / ".deployer.db.new-journal").write_bytes(b"half")
    Store(state, CLOCK).database.close()
    assert sorted(p.name for p in state.iterdir()) == ["deployer.db", "deployer.lock"]
    assert (state / "deployer.db").stat().st_mode & 0o777 == 0o600


def test_a_process_whose_store_was_replaced_changes_nothing_any_more(used: Path) -> None:
    store = Store(used, CLOCK)
    with closing(store.database):
        lock = store.locks.take("shop", "test")
        for file in used.glob("deployer.db*"):
            file.rename(file.with_name(f"old{file.name}"))
        with closing(Store(used, CLOCK, new=True).database):
            with pytest.raises(StoreFailed, match="moved or removed while this process ran"):
                store.locks.verify(lock)
            with pytest.raises(StoreFailed, match="moved or removed"):
                store.secret("never")


# -- moved aside


def test_a_store_is_moved_aside_whole(killed: Path) -> None:
    before = {name: data for name, data in contents(killed).items() if name.startswith("deployer.db")}
    moved = move_aside(killed)
    assert [p.name.removeprefix(moved[0].name) for p in moved] == ["", "-shm", "-wal"]
    assert {p.name.replace(moved[0].name, "deployer.db"): p.read_bytes() for p in moved} == before
    with pytest.raises(StoreDamaged, match="is gone"):
        Store(killed, CLOCK)
    Store(killed, CLOCK, new=True).database.close()
    with closing(sqlite3.connect(moved[0])) as db:
        assert db.execute("select count(*) from meta where key = 'written last'").fetchone()[0] == 1


def test_nothing_is_overwritten_by_moving_aside(used: Path) -> None:
    names = set()
    for n in range(3):
        (used / "deployer.db").write_bytes(b"%d" % n)
        names.add(move_aside(used)[0])
    assert sorted(path.read_bytes() for path in names) == [b"0", b"1", b"2"]
    assert move_aside(used) == ()


def test_a_store_in_use_is_not_moved(used: Path) -> None:
    hand = FileLock(used / "locks" / "shop.lock")
    assert hand.try_take()
    with pytest.raises(Locked, match="shop is being changed"):
        move_aside(used)
    hand.let_go()
    assert move_aside(used)


# -- a store that cannot be written


HOLD = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("begin immediate")
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLD, str(folder / "deployer.db")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_busy_store_names_who_keeps_it_busy(used: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.store.sqlite.database.BUSY_SECONDS", 0.1)
    with closing(Store(used, CLOCK).database) as db, writer(used) as process:
        process.send_signal(signal.SIGSTOP)
        with pytest.raises(StoreFailed, match=rf"being written by process {process.pid} \(stopped\)"), db.transaction():
            pytest.fail("two writers")
        process.send_signal(signal.SIGCONT)


def test_a_full_disk_loses_nothing_and_is_named(state: Path) -> None:
    require("root")
    with mounted(state, "600k"), closing(Store(state, CLOCK).database) as db:
        written = 0

        def fill() -> None:
            nonlocal written
            while True:
                with db.transaction() as connection:
                    connection.execute("insert into meta values (?, ?)", (f"k{written}", "x" * 4000))
                written += 1

        with pytest.raises(StoreFailed, match="no space is left"):
            fill()
        with db.reading() as connection:
            kept = connection.execute("select count(*) from meta where key like 'k%'").fetchone()[0]
        assert kept == written > 10
        db.whole()


def test_secrets_that_find_no_room_are_told(tmp_path: Path) -> None:
    full = "cannot be written: No space left on device"
    with mounted(tmp_path, "64k"):
        (tmp_path / "zeros").write_bytes(bytes(64 << 10))
        vault = Vault(tmp_path / "secrets")
        with pytest.raises(StoreFailed, match=f"{KEY} {full}") as error:
            vault.keep_key("the key")
        assert error.value.hint == "is the disk full?"
        with pytest.raises(StoreFailed, match=f"r1.json {full}"):
            vault.save("shop", 1, {"A": SecretText("x")})
        assert [path for path in (tmp_path / "secrets").rglob("*") if path.is_file()] == []


def test_a_full_disk_makes_no_store(state: Path) -> None:
    require("root")
    with mounted(state, "8k"):
        with pytest.raises(StoreFailed, match="no space is left"):
            Store(state, CLOCK)
        assert not (state / "deployer.db").exists()


def test_a_folder_for_reading_only_makes_no_store(state: Path) -> None:
    require("root")
    with mounted(state, "2m"):
        remount(state, "ro")
        with pytest.raises(StoreFailed, match=r"cannot be used: .*[Rr]ead-?only"):
            look(state)


@pytest.mark.parametrize(
    ("how", "said"),
    [("full", "cannot be written: no space is left"), ("read-only", "cannot be written: Read-only file system")],
)
def test_what_is_recorded_can_be_read_where_nothing_can_be_written(
    state: Path, used: Path, how: str, said: str
) -> None:
    """Also what a process that was killed had not brought from the log into the file yet."""
    require("root")
    disk = state / "disk"
    disk.mkdir(mode=0o700)
    with mounted(disk, "2m"):
        with closing(Store(used, CLOCK).database) as db, db.transaction() as connection:
            connection.execute("insert into meta values ('late', 'yes')")
            connection.execute("commit")
            connection.execute("begin")
            for name in ("deployer.db", "deployer.db-wal"):
                shutil.copy(used / name, disk)
        take_writes_away(disk, how)
        before = contents(disk)
        with closing(Store(disk, CLOCK).database) as db:
            assert said in str(db.unwritable)
            with db.reading() as connection:
                assert meta.value(connection, "late") == "yes"
            with pytest.raises(StoreFailed, match=said), db.transaction():
                pytest.fail("a write transaction began")
        assert before.items() <= contents(disk).items()


@pytest.mark.parametrize("how", ["full", "read-only"])
def test_a_server_opens_the_store_itself_once_it_can_be_written_again(state: Path, used: Path, how: str) -> None:
    require("root")
    disk = state / "disk"
    disk.mkdir(mode=0o700)
    with mounted(disk, "2m"):
        shutil.copy(used / "deployer.db", disk)
        take_writes_away(disk, how)
        with closing(Stores(lambda: Store(disk, CLOCK))) as stores:
            copy = stores.store()
            assert copy.database.unwritable is not None
            assert stores.store() is copy
            give_writes_back(disk, how)
            again = stores.store()
            assert again.database.unwritable is None
            assert stores.store() is again


def give_writes_back(disk: Path, how: str) -> None:
    if how == "read-only":
        remount(disk, "rw")
        return
    (disk / "filler").unlink()


def take_writes_away(disk: Path, how: str) -> None:
    if how == "read-only":
        remount(disk, "ro")
        return
    with (disk / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 4096):
            pass

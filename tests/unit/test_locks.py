"""One hand at a time: who lives, who answers, whose writes count."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from deployer.app import doctor, operations
from deployer.app.operations import RolloutResult
from deployer.app.operations.execution import hands, locked, run_of
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Locked, LockLost, NeedsPerson, Refused, StoreFailed
from deployer.core.events import Event
from deployer.core.filelock import is_held
from deployer.core.secret import SecretText
from deployer.drivers import ports
from deployer.drivers.fenced import CHANGES, Owner, fenced
from deployer.drivers.ports.moving import Mover
from deployer.drivers.ports.sleeping import Sleeper
from deployer.engine import lease_renewer
from deployer.evidence import live_sample
from deployer.model import Live, Outcome, Release, Server
from deployer.store import AuditEntry, ControlRequest, Heartbeat, Lock, Rollout, Store, adoption, upkeep
from deployer.store.locks import CHANGES as CHANGE_BYTES
from deployer.store.locks import LEASE_SECONDS
from deployer.store.sets import MemberPlan
from deployer.store.sqlite.database import SqliteDatabase
from deployer.supervisor.proc import Process
from tests.house import Scene, house, manifest
from tests.memory import FakeClock, PaperPulse
from tests.programs import program

HELD = {"percent": 10, "hold": True}


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Scene(state)
    with made.house:
        yield made


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    opened = Store(state, FakeClock())
    yield opened
    opened.close()


@pytest.fixture
def real(state: Path) -> Iterator[Store]:
    """A store of this host's clock, which other processes have too."""
    opened = Store(state, SystemClock())
    yield opened
    opened.close()


class Clock(FakeClock):
    """A wall clock that is set, beside one that nobody sets."""

    def __init__(self) -> None:
        super().__init__()
        self.ahead = 0.0

    def now(self) -> float:
        return self.at + self.ahead


OWNER = """
import sys
from pathlib import Path
from deployer.core.clock import SystemClock
from deployer.store import Store
store = Store(Path(sys.argv[1]), SystemClock())
lock = store.locks.take("shop", "canary of 2.0")
if sys.argv[2] == "changing":
    with store.locks.changing(lock):
        print(lock.token, flush=True)
        sys.stdin.readline()
print(lock.token, flush=True)
sys.stdin.readline()
"""


def owner(folder: Path, what: str = "waiting", *before: str) -> AbstractContextManager[subprocess.Popen[str]]:
    """Run another process that has the lock."""
    return program(OWNER, str(folder), what, says="1", before=before)


def set_lock(folder: Path, **values: Any) -> None:
    """Change what is recorded of an owner."""
    with closing(sqlite3.connect(folder / "deployer.db")) as db, db:
        for name, value in values.items():
            db.execute(f"update locks set {name} = ?", (value,))


def dump(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / "deployer.db")) as db:
        return list(db.iterdump())


# -- who holds it is told


def test_a_refusal_says_who_since_when_from_where_what_for_and_which_version(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    store.audit.actor = replace(
        store.audit.actor, by="ann@ci-3", host="ci-3", origin="CI https://ci/7", version="0.1.0"
    )
    lock = store.locks.take("shop", "canary of 2.0")
    with pytest.raises(Locked) as refused:
        store.locks.take("shop", "up of 3.0")
    assert refused.value.message == (
        "shop is being changed by ann@ci-3 since 22:13:20: canary of 2.0"
        f" (pid {os.getpid()} on ci-3, CI https://ci/7, deployer 0.1.0)"
    )
    assert "`deploy watch`" in refused.value.hint
    assert "`deploy release-lock" in refused.value.hint
    assert refused.value.exit == 5
    assert (store.folder / "locks" / "shop.lock").read_text() == f"ann@ci-3 ({lock.where}): canary of 2.0\n"


def test_a_refusal_of_another_day_says_the_day(store: Store) -> None:
    assert isinstance(store.clock, FakeClock)
    lock = store.locks.take("shop", "canary of 2.0")
    assert re.search(r"since \d\d:\d\d:\d\d:", lock.explain(store.clock.now()))
    assert re.search(r"since 2023-11-1\d \d\d:\d\d:\d\d:", lock.explain(store.clock.now() + 86400 * 2))


def test_every_operation_says_what_it_brings(scene: Scene) -> None:
    """Who is refused reads which version is being brought, whatever the command."""
    said: list[str] = []

    def ask(what: str) -> None:
        if what.startswith(("before set_traffic", "before remove")) and not scene.world.broken:
            with pytest.raises(Locked) as refused:
                scene.house.store.locks.take("shop", "another")
            said.append(refused.value.message)

    def during(do: Callable[[], object]) -> str:
        said.clear()
        scene.world.tick = ask
        do()
        scene.world.tick = lambda _what: None
        return said[0]

    assert ": bluegreen of 1.0 (" in during(lambda: scene.deploy("1.0"))
    assert ": canary of 2.0 (" in during(lambda: scene.deploy("2.0", "canary", options=HELD))
    assert ": resume of rollout 2, canary of 2.0 (r2)" in during(lambda: operations.resume(scene.house, "shop"))
    assert ": rollback of r2 (2.0) (" in during(lambda: operations.rollback(scene.house, "shop"))
    scene.deploy("3.0", "canary", options=HELD)
    assert ": abort of rollout 4, canary of 3.0 (r3)" in during(lambda: operations.stop(scene.house, "shop"))
    scene.deploy("4.0", "canary", options=HELD)
    assert ": promote of rollout 5, canary of 4.0 (r4)" in during(lambda: operations.promote(scene.house, "shop"))
    assert ": down (" in during(lambda: operations.down(scene.house, "shop"))


# -- who lives


def test_a_killed_owner_holds_nothing_from_that_instant(real: Store) -> None:
    with owner(real.folder) as process:
        with pytest.raises(Locked, match=rf"canary of 2\.0 \(pid {process.pid} on "):
            real.locks.take("shop", "mine")
        assert real.locks.read("shop") is not None
        process.kill()
        process.wait()
        assert real.locks.read("shop") is None
        lock = real.locks.take("shop", "mine")
    assert lock.token == 2
    assert not [r for r in real.audit_log.newest(10) if r.action == "overtake"], "nobody was overtaken"


def test_a_reboot_frees_it_whatever_process_has_the_pid_now(real: Store) -> None:
    """Pid, its start and the clock may be the same as before; the boot is another, and nothing lives."""
    with owner(real.folder) as process:
        process.kill()
        process.wait()
    this = Process.of(os.getpid())
    assert this is not None
    set_lock(real.folder, boot="of-before", pid=this.pid, pid_started=this.started, beat=real.clock.monotonic() + 9e9)
    assert real.locks.read("shop") is None
    assert real.locks.take("shop", "mine").token == 2


def test_it_outlives_the_reboot_of_nobody(real: Store) -> None:
    """A living owner of which the store says another boot (its clock cannot be compared) is never taken for silent."""
    with owner(real.folder):
        set_lock(real.folder, boot="another", beat=-9e9)
        with pytest.raises(Locked, match="is being changed by"):
            real.locks.take("shop", "mine")
        assert real.locks.read("shop") is not None


@pytest.mark.parametrize("seconds", [-3600.0, 3600.0, -9e8, 9e8])
def test_a_clock_that_is_set_frees_nothing_and_keeps_nothing(state: Path, seconds: float) -> None:
    clock = Clock()
    with closing(Store(state, clock)) as store:
        lock = store.locks.take("shop", "canary of 2.0")
        clock.ahead = seconds
        with pytest.raises(Locked, match="is being changed by"):
            store.locks.take("shop", "mine")
        store.locks.renew(lock)
        store.locks.release(lock)
        assert store.locks.take("shop", "mine").token == 2


def test_an_owner_in_another_namespace_of_pids_is_seen(real: Store) -> None:
    """As in another container with the same folder: its pid means nothing here, and may be anybody's."""
    if subprocess.run(["unshare", "--pid", "--mount-proc", "--kill-child", "true"], capture_output=True).returncode:
        pytest.skip("pid namespaces need root")
    with owner(real.folder, "waiting", "unshare", "--pid", "--mount-proc", "--kill-child"):
        lock = real.locks.read("shop")
        assert lock is not None
        assert not Process(lock.pid, lock.pid_started).alive(), "it cannot be found by its pid"
        assert "where it runs" in lock.how_to_end()
        with pytest.raises(Locked):
            real.locks.take("shop", "mine")
    Deadline.after(SystemClock(), 60).until(lambda: real.locks.read("shop") is None, "all of it is dead")
    assert real.locks.take("shop", "mine").token == 2


def test_two_in_one_process_exclude_each_other(store: Store) -> None:
    with closing(Store(store.folder, store.clock)) as other:
        lock = store.locks.take("shop", "first")
        with pytest.raises(Locked):
            other.locks.take("shop", "second")
        other.locks.take("blog", "another service")
        store.locks.release(lock)
        assert other.locks.take("shop", "second").token == lock.token + 1


def test_a_file_that_was_removed_is_held_again(store: Store) -> None:
    lock = store.locks.take("shop", "first")
    shutil.rmtree(store.folder / "locks")
    assert store.locks.read("shop") is None
    store.locks.renew(lock)
    assert store.locks.read("shop") == replace(lock, beat=store.clock.monotonic())


def test_who_was_taken_for_dead_changes_nothing(store: Store) -> None:
    """Its file was removed, and somebody was faster than its next beat: the fence holds without any file."""
    lock = store.locks.take("shop", "first")
    shutil.rmtree(store.folder / "locks")
    store.locks.take("shop", "second")
    with pytest.raises(LockLost):
        store.locks.renew(lock)
    with pytest.raises(LockLost), store.locks.changing(lock):
        pytest.fail("it changes something")


def test_a_folder_without_locks_is_refused(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr("deployer.core.filelock.fcntl.fcntl", refuses)
    with pytest.raises(StoreFailed, match=r"shop\.lock cannot be locked: Operation not supported"):
        store.locks.take("shop", "mine")


def test_a_lock_that_could_not_be_recorded_is_not_held(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr("deployer.store.locks.astuple", lambda _lock: (1,))
        with pytest.raises(sqlite3.OperationalError):
            store.locks.take("shop", "mine")
    assert not is_held(store.folder / "locks" / "shop.lock")
    assert store.locks.take("shop", "mine").token == 1


# -- who answers


def test_a_silent_owner_is_overtaken_after_the_lease_and_no_sooner(store: Store) -> None:
    assert isinstance(store.clock, FakeClock)
    first = store.locks.take("shop", "canary of 2.0")
    store.clock.sleep(LEASE_SECONDS - 0.1)
    with pytest.raises(Locked):
        store.locks.take("shop", "mine")
    store.clock.sleep(0.2)
    assert store.locks.read("shop") is None
    second = store.locks.take("shop", "mine")
    assert second.token == first.token + 1
    (record,) = [r for r in store.audit_log.newest(10) if r.action == "overtake"]
    assert (record.detail, record.reason) == (
        "canary of 2.0",
        f"{first.owner} ({first.where}) sent no heartbeat for 30 s",
    )
    with pytest.raises(
        LockLost, match=r"this process was overtaken by .* \(.* sent no heartbeat for 30 s\): it changes noth"
    ):
        store.locks.verify(first)


def test_an_owner_that_beats_is_never_overtaken(store: Store) -> None:
    assert isinstance(store.clock, FakeClock)
    lock = store.locks.take("shop", "canary of 2.0")
    for _ in range(20):
        store.clock.sleep(LEASE_SECONDS / 4)
        store.locks.renew(lock)
        with pytest.raises(Locked):
            store.locks.take("shop", "mine")


def test_the_heart_beats_as_long_as_the_lock_is_held(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the first step and after the last one: an image may take long to fetch."""
    monkeypatch.setattr("deployer.store.heartbeat.BEAT_SECONDS", 0.01)
    clock, store = scene.world.clock, scene.house.store
    with locked(scene.house, "shop", "test") as lock:
        clock.at += 100
        Deadline.after(SystemClock(), 60).until(lambda: beat_of(store) == clock.at, "a beat")
        assert store.locks.read("shop") is not None
    assert not [t for t in threading.enumerate() if t.name == "heart"]
    with pytest.raises(LockLost):
        store.locks.verify(lock)


def test_a_heart_tells_once_that_it_cannot_beat_and_goes_on(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.store.heartbeat.BEAT_SECONDS", 0.005)
    store, tries = scene.house.store, threading.Semaphore(0)
    told: list[str] = []
    lock = store.locks.take("shop", "test")

    def full(_lock: Lock) -> None:
        tries.release()
        raise StoreFailed("no space is left")

    monkeypatch.setattr(store.locks, "renew", full)
    with Heartbeat(store.locks, lock, told.append):
        for _ in range(3):
            assert tries.acquire(timeout=60)
    assert told == ["no sign of life could be given, trying again: no space is left"]


def test_trouble_of_a_heart_that_comes_back_is_told_again_and_without_secrets(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployer.store.heartbeat.BEAT_SECONDS", 0.005)
    store, over = scene.house.store, threading.Event()
    told: list[str] = []
    lock = store.locks.take("shop", "test")
    secret = SecretText("password-of-the-store")
    left = [StoreFailed(f"no {secret.reveal()}"), None, StoreFailed("no space is left")]

    def renew(_lock: Lock) -> None:
        if not left:
            over.set()
        elif error := left.pop(0):
            raise error

    monkeypatch.setattr(store.locks, "renew", renew)
    with Heartbeat(store.locks, lock, told.append):
        assert over.wait(60)
    start = "no sign of life could be given, trying again: no "
    assert told == [f"{start}***", f"{start}space is left"]


def test_a_bug_in_a_beat_is_told_and_does_not_end_the_beating(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.store.heartbeat.BEAT_SECONDS", 0.005)
    store, tries = scene.house.store, threading.Semaphore(0)
    told: list[str] = []
    lock = store.locks.take("shop", "test")

    def odd(_lock: Lock) -> None:
        tries.release()
        raise ZeroDivisionError

    monkeypatch.setattr(store.locks, "renew", odd)
    with Heartbeat(store.locks, lock, told.append):
        for _ in range(3):
            assert tries.acquire(timeout=60)
    (text,) = told
    assert text.startswith("no sign of life could be given, trying again: internal error: ZeroDivisionError")


def beat_of(store: Store) -> float:
    with store.database.reading() as db:
        return float(db.execute("select beat from locks").fetchone()["beat"])


# -- whose changes count


def test_a_token_is_given_once_whoever_comes_back_late(store: Store) -> None:
    first = store.locks.take("shop", "first")
    store.locks.break_("shop", "it hangs")
    second = store.locks.take("shop", "second")
    store.locks.release(second)
    store.locks.release(first)  # it has come back, and gives up what it had lost
    third = store.locks.take("shop", "third")
    assert [first.token, second.token, third.token] == [1, 2, 3]


def test_a_released_owner_hears_by_whom_and_why(store: Store) -> None:
    lock = store.locks.take("shop", "canary of 2.0")
    store.audit.actor = replace(store.audit.actor, by="bob@desk")
    assert store.locks.break_("shop", "ci-3 hangs in a pull") == lock
    with pytest.raises(LockLost) as lost:
        store.locks.verify(lock)
    assert lost.value.message == (
        "this process was overtaken by bob@desk (ci-3 hangs in a pull): it changes nothing of shop any more"
    )
    assert lost.value.exit == 5
    assert store.locks.break_("shop", "again") is None


def test_a_dead_owners_lock_need_not_be_released(real: Store) -> None:
    with owner(real.folder) as process:
        process.kill()
        process.wait()
        assert real.locks.break_("shop", "is it stuck?") is None
    assert real.audit_log.newest(10) == ()


def test_a_change_under_way_is_waited_for(real: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the check of its token and what it does: whoever comes next does nothing before that is over."""
    monkeypatch.setattr("deployer.store.locks.CHANGE_SECONDS", 0.2)
    with owner(real.folder, "changing") as process:
        process.send_signal(signal.SIGSTOP)
        held = real.locks.break_("shop", "it hangs")
        assert held is not None
        assert real.locks.is_changing(held)
        with pytest.raises(Locked, match=rf"\(pid {process.pid} on .*\): canary of 2\.0\) is still in the middle"):
            real.locks.take("shop", "mine")
        assert real.locks.read("shop") is None, "what could not be had is given back"
        process.kill()
        process.wait()
        lock = real.locks.take("shop", "mine")
        assert lock.token == 3
        assert not real.locks.is_changing(lock)


def test_a_silent_owner_in_the_middle_of_a_change_is_not_overtaken(real: Store) -> None:
    with owner(real.folder, "changing") as process:
        process.send_signal(signal.SIGSTOP)
        set_lock(real.folder, beat=real.clock.monotonic() - 45)
        with pytest.raises(Locked, match="no heartbeat for 45 s in the middle of a change") as refused:
            real.locks.take("shop", "mine")
        assert f"kill -CONT {process.pid}" in refused.value.hint
        assert f"kill -9 {process.pid}" in refused.value.hint
        process.kill()
        process.wait()
        assert real.locks.take("shop", "mine").token == 2


def test_changes_of_one_owner_go_on_beside_each_other(store: Store) -> None:
    lock = store.locks.take("shop", "mine")
    file = store.folder / "locks" / "shop.lock"
    with store.locks.changing(lock), store.locks.changing(lock):
        assert is_held(file, CHANGE_BYTES + lock.token)
    assert not is_held(file, CHANGE_BYTES + lock.token)
    assert is_held(file, lock.token)


# -- every write of the store


Write = Callable[[Store, Lock, Any], object]
TABLES = (
    *("services", "sizes", "needs", "concurrencies", "loads", "releases", "rollouts", "journal"),
    *("events", "requests", "ports", "approvals", "audit", "sets", "homes"),
)
BESIDE = {
    "folder",
    "file",
    "clock",
    "database",
    "claims",
    "audit_log",
    "locks",
    "owed",
    "jobs",
    "shared",
    "name",
    "vault",
}  # no tables
UNFENCED = {
    "secret": "belongs to the state folder, not to a service",
    "approvals.speak": "is what others say to the owner",
    "audit.add": "is in a transaction of whoever calls it",
    "rollouts.add": "is in a transaction of whoever calls it",
    "close": "writes nothing",
    "loads.add": "is what a keeper saw, and changes nothing of a service",
}


def a_release(rollout: Rollout) -> Release:
    return Release("shop", 9, "9.0", "shop:9.0", "sha256:9", manifest(), "hash", "", 0.0, "ann", "", "new")


def a_member(lock: Lock, rollout: Rollout) -> MemberPlan:
    return MemberPlan(lock, rollout.plan, Path("/"))


def add_set(store: Store) -> None:
    """Record a set that nothing is decided of."""
    with store.database.transaction() as db:
        db.execute(
            "insert into sets (name, strategy, started_at, started_by, message) values ('all', 'canary', 0, 'ann', '')"
        )


def result(rollout: Rollout, outcome: Outcome) -> RolloutResult:
    return RolloutResult(outcome, Exit.DONE, outcome, rollout.number)


WRITES: dict[str, Write] = {
    "releases.add": lambda s, lock, r: s.releases.add(lock, a_release(r)),
    "rollouts.begin": lambda s, lock, r: s.rollouts.begin(lock, r.plan, Path("/"), "ann", ""),
    "rollouts.begin_moved": lambda s, lock, r: s.rollouts.begin_moved(lock, r.plan, Path("/"), "ann", ""),
    "journal.began": lambda s, lock, r: s.journal.began(lock, r.number, "forward", 0),
    "journal.done": lambda s, lock, r: s.journal.done(lock, r.number, "forward", 0, {}),
    "rollouts.approved": lambda s, lock, r: s.rollouts.approved(lock, r.number, 0, {}, None),
    "rollouts.promoted": lambda s, lock, r: s.rollouts.promoted(lock, r, r.plan.commit, {}),
    "rollouts.turned_back": lambda s, lock, r: s.rollouts.turned_back(lock, r, 0, Refused("no")),
    "journal.failed": lambda s, lock, r: s.journal.failed(lock, r.number, "forward", 0, Refused("no")),
    "rollouts.paused": lambda s, lock, r: s.rollouts.paused(lock, r, result(r, "paused")),
    "rollouts.needs_attention": lambda s, lock, r: s.rollouts.needs_attention(lock, r, result(r, "needs-attention")),
    "rollouts.ended": lambda s, lock, r: s.rollouts.ended(lock, r, result(r, "done"), events=1),
    "services.set_warm": lambda s, lock, r: s.services.set_warm(lock, 1, "blue", 9e9),
    "services.clear_warm": lambda s, lock, r: s.services.clear_warm(lock),
    "services.contracting": lambda s, lock, r: s.services.contracting(lock, 1),
    "services.taken_down": lambda s, lock, r: s.services.taken_down(lock),
    "homes.note": lambda s, lock, r: s.homes.note(lock, "web-1:/srv/deployer"),
    "sizes.set": lambda s, lock, r: s.sizes.set(lock, 3, 0.0, "sale"),
    "needs.set": lambda s, lock, r: s.needs.set(lock, 3, "30 requests at once"),
    "concurrencies.set": lambda s, lock, r: s.concurrencies.set(lock, 12, "it was measured"),
    "sizes.clear": lambda s, lock, r: s.sizes.clear(lock, ""),
    "requests.take": lambda s, lock, r: s.requests.take(lock, ControlRequest(1, "abort", "ann", "")),
    "events.add": lambda s, lock, r: s.events.add(lock, Event("note", 0.0, "shop", r.number, {"text": "x"})),
    "ports.assign": lambda s, lock, r: s.ports.assign(lock, 9, 1, range(21000, 21100), lambda _port: True),
    "ports.free": lambda s, lock, r: s.ports.free(lock, 1, 1),
    "ports.free_others": lambda s, lock, r: s.ports.free_others(lock, ()),
    "sets.begin": lambda s, lock, r: s.sets.begin(
        "all", "canary", [MemberPlan(lock, r.plan, Path("/"))], {}, "ann", ""
    ),
    "sets.decide_forward": lambda s, lock, r: s.sets.decide_forward(lock, 1),
    # with a lock where they may be without
    "requests.add": lambda s, lock, r: s.requests.add(r, "promote", "ann", "", lock),
    "audit.record": lambda s, lock, r: s.audit.record(AuditEntry("resume", "shop"), lock),
    # beside the store
    "locks.renew": lambda s, lock, r: s.locks.renew(lock),
    "adopting.adopt": lambda s, lock, r: adoption.adopt(
        s, adoption.LostStore(s.secret("installation"), "", 9), [lock], [blank()], by="ann"
    ),
    "upkeep.catch_up": lambda s, lock, r: upkeep.catch_up(s, lock, blank("shop"), 9),
}


def blank(service: str = "new") -> adoption.Recovered:
    return adoption.Recovered(service, (), 0, 0, "blue", 0.0, (), None, 0)


@pytest.fixture
def stale(scene: Scene) -> tuple[Store, Lock, Rollout]:
    """A lock whose owner was overtaken in the middle of a rollout, with a wish that waits."""
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    store = scene.house.store
    old = store.locks.take("shop", "old")
    rollout = store.rollouts.get(2)
    store.requests.add(rollout, "abort", "ann", "")
    add_set(store)
    store.locks.break_("shop", "it hangs")
    store.locks.take("shop", "new")
    return store, old, rollout


@pytest.mark.parametrize("write", WRITES)
def test_an_overtaken_owner_can_write_nothing(stale: tuple[Store, Lock, Rollout], write: str) -> None:
    store, old, rollout = stale
    before = dump(store.folder)
    with pytest.raises(LockLost, match="changes nothing of shop any more"):
        WRITES[write](store, old, rollout)
    assert dump(store.folder) == before


@pytest.mark.parametrize("write", WRITES)
def test_the_owner_can(scene: Scene, write: str) -> None:
    """So it is the fence that refuses, not something else that is wrong with the call."""
    scene.deploy("1.0")
    if not write.partition(".")[2].startswith("begin"):
        scene.deploy("2.0", "canary", options=HELD)
    store = scene.house.store
    rollout = store.rollouts.of("shop")[0]
    store.requests.add(rollout, "abort", "ann", "")
    add_set(store)
    name = "new" if write == "adopting.adopt" else "shop"
    scene.world.clock.sleep(1)
    lock = store.locks.take(name, "new")
    scene.world.clock.sleep(1)
    before = dump(store.folder)
    WRITES[write](store, lock, rollout)
    assert dump(store.folder) != before


def test_no_writing_method_is_forgotten(scene: Scene) -> None:
    """Each public method of a table takes a lock, or is on the short list, or cannot write: SQLite sees to that."""
    scene.deploy("1.0")
    store = scene.house.store
    add_set(store)
    found = {name: getattr(store, name) for name in TABLES}
    # Some are made when they are first asked for
    tables = {"": store, **{f"{name}.": getattr(table, "_it", table) for name, table in found.items()}}
    assert not [name for name in vars(store) if f"{name}." not in tables and name not in BESIDE]
    methods = {
        table + name: method
        for table, of in tables.items()
        for name, method in inspect.getmembers(of, inspect.ismethod)
        if not name.startswith("_")
    }
    # Members of a set come with their locks.
    with_lock = {n for n, m in methods.items() if {"lock", "plans"} & inspect.signature(m).parameters.keys()}
    assert with_lock == {name for name in WRITES if name.partition(".")[0] in TABLES}
    arguments = {"name": "shop", "service": "shop", "number": 1, "rollout": 1, "phase": "forward", "n": 0, "port": 1}
    arguments |= {"after": 0, "limit": 1, "until": 0.0, "release": 1, "occasion": "deploy", "occasions": ()}
    arguments |= {"kind": "note", "field": "text", "since": 0.0}
    reads = set(methods) - with_lock - set(UNFENCED)
    with store.database.reading() as db:
        db.execute("pragma query_only = on")
    for name in reads:
        wanted = inspect.signature(methods[name]).parameters.values()
        given: dict[str, Any] = {p.name: arguments[p.name] for p in wanted if p.default is p.empty}
        if name in ("journal.cause", "journal.left"):
            given = {"rollout": store.rollouts.get(1)}
        methods[name](**given)
    assert len(reads) > 12
    with pytest.raises(StoreFailed, match="readonly"):
        store.secret("that is not there yet")


# -- every change of the world


def test_every_call_that_changes_something_is_behind_the_fence() -> None:
    """A call of a driver changes nothing, or is fenced: a new one must be put on one side or the other."""
    harmless = {
        "runtime": {
            "resolve",
            "check_release",
            "instances",
            "logs",
            "count_lines",
            "run",
            "list_all",
            "foreign",
            "garbage",
        },
        "traffic": {
            "read",
            "servers",
            "preview",
            "spent",
            "lost",
            "samples",
        },
        "inspection": {"check", "services", "drift", "reachable", "load", "measured"},
        "upkeep": set(),
        "playbooks": set(),
        "certificates": {"shown"},
        "checks": {"probe", "smoke"},
        "metrics": {"read"},
        "mover": set(),
        "signatures": {"prove"},
        "sleeper": {"asleep", "attend", "wakes"},  # to attend starts what only a request puts to use
    }
    kinds = {"runtime": ports.RuntimeCare, "traffic": ports.Traffic, "playbooks": ports.Playbooks}
    kinds |= {"checks": ports.Checks, "metrics": ports.MetricSources, "signatures": ports.Signatures}
    kinds |= {"inspection": ports.TrafficInspection, "upkeep": ports.TrafficUpkeep}
    kinds |= {"certificates": ports.ShownCertificates, "sleeper": Sleeper, "mover": Mover}
    for name, protocol in kinds.items():
        calls = {n for n, _ in inspect.getmembers(protocol, inspect.isfunction) if not n.startswith("_")}
        assert calls == harmless[name] | CHANGES.get(name, frozenset()), name


def test_a_value_has_the_token_of_the_lock_and_an_older_one_is_refused(scene: Scene) -> None:
    """Whoever passed the fence, was stopped and overtaken then, is refused where the value is."""
    scene.deploy("1.0")
    store, world = scene.house.store, scene.world
    old = store.locks.take("shop", "old")
    soon = Deadline.after(world.clock, 5)
    passed = Owner(old, old.token, nullcontext, lambda token: store.locks.outlive(old, token))  # before it was stopped
    store.locks.break_("shop", "it hangs")
    new = store.locks.take("shop", "new")
    hands(scene.house, new, world.drivers()).traffic.set_traffic("shop", Live("blue"), soon)
    assert world.live["shop"].token == new.token
    with pytest.raises(LockLost, match="this process was overtaken"):
        fenced(world.drivers(), passed).traffic.set_traffic("shop", Live("green"), soon)
    assert world.live["shop"] == Live("blue")


def test_a_store_that_was_restored_gives_tokens_that_the_proxy_takes(scene: Scene) -> None:
    scene.deploy("1.0")
    store, world = scene.house.store, scene.world
    world.live["shop"] = replace(world.live["shop"], token=700)  # by owners that this store knows nothing of
    lock = store.locks.take("shop", "mine")
    soon = Deadline.after(world.clock, 5)
    hands(scene.house, lock, world.drivers()).traffic.set_traffic("shop", world.live["shop"], soon)
    assert world.live["shop"].token == 700
    store.locks.release(lock)
    assert store.locks.take("shop", "mine").token == 701


def test_an_overtaken_owner_changes_nothing_of_the_world(scene: Scene) -> None:
    scene.deploy("1.0")
    store, soon = scene.house.store, Deadline.after(scene.world.clock, 5)
    lock = store.locks.take("shop", "old")
    drivers = hands(scene.house, lock, scene.world.drivers())
    store.locks.break_("shop", "it hangs")
    seen: list[str] = []
    scene.world.tick = seen.append
    for driver, names in CHANGES.items():
        for name in names:
            value = (Live("blue"),) if name == "set_traffic" else ()
            with pytest.raises(LockLost):
                getattr(getattr(drivers, driver), name)("shop", *value, soon)
    assert seen == []
    assert drivers.traffic.read("shop") == scene.live, "it may look"


def test_one_fence_is_enough_but_each_owner_has_its_own(scene: Scene) -> None:
    lock = scene.house.store.locks.take("shop", "old")
    mine = hands(scene.house, lock, scene.world.drivers())
    assert hands(scene.house, lock, mine) is mine
    bare = replace(mine, runtime=scene.world.drivers().runtime)
    assert hands(scene.house, lock, bare).runtime is not bare.runtime
    scene.house.store.locks.release(lock)
    other = scene.house.store.locks.take("shop", "new")
    assert hands(scene.house, other, mine) is not mine


def test_whoever_changes_the_world_is_inside_the_fence(scene: Scene) -> None:
    """From the first deploy to the end, by whatever command: while a driver changes something, the change is held."""
    file = scene.house.store.folder / "locks" / "shop.lock"
    changes: list[str] = []

    def look(what: str) -> None:
        if what not in ("check", "drain"):
            changes.append(what)
            lock = scene.house.store.locks.read("shop")
            assert lock is not None, what
            assert is_held(file, CHANGE_BYTES + lock.token), what

    scene.world.tick = look
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    operations.promote(scene.house, "shop")
    scene.deploy("2.0")  # it is live already: the entry is asserted all the same
    scene.world.live["shop"] = Live(stable="blue", rollout=2)  # a rollback in an emergency, which is written down
    operations.resume(scene.house, "shop")
    operations.rollback(scene.house, "shop", to=2, force=True)
    scene.deploy("3.0", "canary", options=HELD)
    operations.stop(scene.house, "shop")
    scene.deploy("4.0", "rolling")
    scene.world.tick = lambda _what: None
    scene.world.instances.pop("shop-r4-2")
    scene.world.servers["shop", "blue"] = {"shop-r8-1": Server("shop-r8-1", "127.0.0.1:1")}
    scene.world.tick = look
    assert len([f for f in doctor.fix(scene.house, None).findings if f.level == "fixed"]) == 2
    operations.down(scene.house, "shop")
    assert len(changes) > 60


def test_an_overtaken_rollout_stands_down_and_leaves_all_as_it_is(scene: Scene) -> None:
    """Overtaken while users are on its candidate: it gives, takes back, renews and writes nothing."""
    scene.deploy("1.0")
    left: dict[str, Any] = {}
    after: list[str] = []

    def overtake(event: Event) -> None:
        after.extend([event.kind] if left else [])
        if event.kind == "sample" and not left:
            store = scene.house.store
            store.locks.break_("shop", "it hangs")
            left.update(live=scene.live, instances=dict(scene.world.instances), store=dump(store.folder))

    scene.house.sink = overtake
    with pytest.raises(LockLost, match="it hangs"):
        scene.deploy("2.0", "canary")
    assert left["live"].share
    assert (left["live"], left["instances"]) == (scene.live, scene.world.instances)
    assert left["store"] == dump(scene.house.store.folder)
    assert after == [], "it stands down with its next look, not at the end of its watch"
    assert live_sample.file_of(scene.house.store.folder, 2).exists(), "it may be that of its successor by now"


def test_the_pulse_of_an_overtaken_owner_renews_nothing(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.get(2))
    run.traffic.begin_lease()
    scene.house.store.locks.break_("shop", "it hangs")
    before = scene.live
    scene.world.clock.sleep(10)
    lease_renewer.beat(run)
    assert scene.live == before


def test_a_bug_in_a_pulse_that_comes_back_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    drive = Mock()
    drive.candidate.manifest.traffic.lease = 8.0
    monkeypatch.setattr(lease_renewer, "beat", Mock(side_effect=[KeyError("a"), KeyError("a"), None, KeyError("b")]))
    pulse = lease_renewer.LeaseRenewer(drive)
    for _ in range(4):
        pulse._beat()
    assert [call.kwargs["text"].splitlines()[0] for call in drive.tell_at_least.call_args_list] == [
        "renewing the lease failed, trying again: internal error: KeyError: 'a'",
        "renewing the lease failed, trying again: internal error: KeyError: 'b'",
    ]


# -- what people ask of an owner that is silent or gone


@contextmanager
def silent_owner(scene: Scene, *, changing: bool = False) -> Iterator[Lock]:
    """A process that has the lock of a rollout and has been silent for longer than its lease."""
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    with closing(Store(scene.house.store.folder, scene.world.clock)) as other:
        lock = other.locks.take("shop", "resume of rollout 2")
        if changing:
            with other.locks.changing(lock):
                scene.world.clock.sleep(LEASE_SECONDS)
                yield lock
            return
        scene.world.clock.sleep(LEASE_SECONDS)
        yield lock


@pytest.mark.parametrize(("do", "outcome"), [(operations.stop, "reverted"), (operations.promote, "done")])
def test_a_wish_is_not_left_with_a_silent_owner(scene: Scene, do: Callable[..., RolloutResult], outcome: str) -> None:
    with silent_owner(scene):
        assert do(scene.house, "shop").outcome == outcome


@pytest.mark.parametrize("do", [operations.stop, operations.promote, operations.resume])
def test_a_silent_owner_in_the_middle_of_a_change_is_named(scene: Scene, do: Callable[..., RolloutResult]) -> None:
    with silent_owner(scene, changing=True), pytest.raises(Locked, match="in the middle of a change") as refused:
        do(scene.house, "shop")
    assert "kill -9" in refused.value.hint


@pytest.mark.parametrize(("do", "outcome"), [(operations.stop, "reverted"), (operations.promote, "done")])
def test_a_wish_whose_owner_dies_is_done_by_who_had_it(
    scene: Scene, do: Callable[..., RolloutResult], outcome: str
) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    other = Store(scene.house.store.folder, scene.world.clock)
    other.locks.take("shop", "resume of rollout 2")
    with other.database.transaction() as db:
        db.execute("update rollouts set outcome = '' where number = 2")  # it is being driven
    sleep = scene.world.clock.sleep

    def dies(seconds: float) -> None:
        other.close()
        sleep(seconds)

    scene.world.clock.sleep = dies  # type: ignore[method-assign]
    assert do(scene.house, "shop").outcome == outcome


def test_who_is_overtaken_while_it_carries_out_a_wish_asks_nobody(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    broken: list[Lock | None] = []

    def break_once(what: str) -> None:
        if what.startswith("after remove") and not broken:
            broken.append(scene.house.store.locks.break_("shop", "enough"))

    scene.world.tick = break_once
    with pytest.raises(LockLost, match="enough"):
        operations.stop(scene.house, "shop")
    assert not [r for r in scene.house.store.audit_log.newest(50) if r.result == "asked"]


# -- when nothing can be recorded any more


def test_users_go_back_at_once_when_the_store_takes_nothing_any_more(scene: Scene, state: Path) -> None:
    scene.deploy("1.0")
    store = scene.house.store

    def full(event: Event) -> None:
        if event.kind == "sample":
            assert isinstance(store.database, SqliteDatabase)
            store.database._meant = lambda error: StoreFailed("no space is left", "free some")  # type: ignore[method-assign]
            with store.database.reading() as db:
                db.execute("pragma query_only = on")

    scene.house.sink = full
    with pytest.raises(
        NeedsPerson, match="rollout 2 stopped half way: no space is left; everyone is on stable"
    ) as left:
        scene.deploy("2.0", "canary")
    assert left.value.exit == 8
    assert scene.live.share, "one that is gone was taken away by a person"
    assert 0 < scene.live.lease <= scene.world.clock.now(), "it is over"
    with house(state, scene.world, scene.events) as again:
        assert operations.resume(again, "shop").outcome == "done"
    assert (scene.live.stable, scene.live.share) == ("green", 0)


def test_a_share_that_somebody_else_wrote_is_left_alone(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.get(2))
    run.traffic.given = replace(scene.live, share=500)
    before = scene.live
    assert not run.traffic.end_share()
    assert scene.live == before
    run.traffic.given = before
    assert run.traffic.end_share()
    assert scene.live.lease


# -- many at once


def test_of_fifty_at_once_one_gets_it(state: Path) -> None:
    won: list[Lock] = []
    refused: list[str] = []
    gate = threading.Barrier(50)
    stores = [Store(state, FakeClock()) for _ in range(10)]

    def attempt(n: int) -> None:
        gate.wait(120)
        try:
            won.append(stores[n % 10].locks.take("shop", f"try {n}"))
        except Locked as error:
            refused.append(error.message)

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert len(won) == 1
    assert len(refused) == 49
    assert all(won[0].purpose in message for message in refused)
    for each in stores:
        each.close()

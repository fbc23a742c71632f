"""What people and the deployer do is in the audit log, in the same transaction, with who, why and from where."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.app import operations
from deployer.app.operations.execution import run_of
from deployer.core.clock import SystemClock
from deployer.core.errors import LockLost, Refused, StoreDamaged
from deployer.core.limits import REASON
from deployer.store import AuditEntry, Store
from deployer.store.actor import origin
from deployer.store.database import Connection
from tests.house import Scene
from tests.memory import Crash

HELD = {"percent": 10, "hold": True}


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.core.local_host.host_name", lambda: "build-3")
    monkeypatch.setattr("deployer.store.actor.socket.gethostname", lambda: "build-3")
    act_as(monkeypatch, "ann")
    scene = Scene(state)
    with scene.house:
        yield scene


def act_as(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SUDO_USER", name)


def told(scene: Scene, after: int = 0) -> list[str]:
    """Return the records after a number as lines, the oldest first."""
    records = [r for r in reversed(scene.house.store.audit_log.newest(1000)) if r.n > after]
    return [f"{r.action} {r.result} by {r.by}{f': {r.reason}' if r.reason else ''}" for r in records]


def count(scene: Scene) -> int:
    chain = scene.house.store.audit_log.verify()
    assert not chain.broken, chain.problem
    return chain.records


def test_a_deploy_with_who_why_and_from_where(scene: Scene) -> None:
    scene.deploy("1.0", message="the first one")
    assert told(scene) == [
        "start begun by ann@build-3: the first one",
        "promote done by deployer",
        "end done by deployer: r1 (1.0) is live",
    ]
    started = scene.house.store.audit_log.newest(10)[-1]
    assert (started.service, started.rollout, started.release) == ("shop", 1, 1)
    assert started.detail == "bluegreen: nothing → r1 (1.0), shop:1.0 = sha256:shop:1.0"
    assert (started.host, started.version) == ("build-3", "0.1.0")
    assert started.pid > 1
    assert started.at == "2023-11-14T22:13:20.000+00:00"


def test_a_verdict_is_the_deployers(scene: Scene) -> None:
    scene.deploy("1.0")
    before = count(scene)
    scene.world.worse = {"2.0"}
    scene.deploy("2.0", "canary", message="new cart")
    lines = told(scene, before)
    assert lines[0] == "start begun by ann@build-3: new cart"
    assert lines[1].startswith("roll back begun by deployer: r2 ")
    assert lines[2].startswith("end reverted by deployer: r2 was rolled back: r2 is worse")
    assert len(lines) == 3


def test_a_hold_and_a_promotion_by_a_person(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.deploy("1.0")
    before = count(scene)
    scene.deploy("2.0", "canary", options=HELD)
    act_as(monkeypatch, "bo")
    again = Scene(scene.house.store.folder)
    again.world = scene.world
    with again.house as opened:
        opened.wire = scene.house.wire
        operations.promote(opened, "shop", "looks good")
    assert told(scene, before)[1:] == [
        told(scene, before)[1],
        "promote begun by bo@build-3: looks good",
        "approve done by bo@build-3",
        "promote done by bo@build-3",
        "end done by deployer: r2 (2.0) is live",
    ]
    assert told(scene, before)[1].startswith("hold paused by deployer: paused at 10%")


def test_a_resume_approves_and_the_promotion_is_the_deployers(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    before = count(scene)
    operations.resume(scene.house, "shop", "the numbers are fine")
    assert told(scene, before) == [
        "resume begun by ann@build-3: the numbers are fine",
        "approve done by ann@build-3",
        "promote done by deployer",
        "end done by deployer: r2 (2.0) is live",
    ]


def test_an_abort_by_a_person(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    before = count(scene)
    operations.stop(scene.house, "shop", "wrong branch")
    assert told(scene, before) == [
        "abort begun by ann@build-3: aborted by ann@build-3: wrong branch",
        "end reverted by deployer: r2 was rolled back: aborted by ann@build-3: wrong branch",
    ]


WENT_ON = "`deploy resume` goes on"


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("abort", ["abort asked by bo@desk: why", "abort begun by bo@desk: aborted by bo@desk: why"]),
        ("pause", ["pause asked by bo@desk: why", f"pause paused by bo@desk: paused by bo@desk: why; {WENT_ON}"]),
        ("promote", ["promote asked by bo@desk: why", "promote done by bo@desk"]),
    ],
)
def test_what_is_asked_of_a_running_rollout(scene: Scene, kind: str, lines: list[str]) -> None:
    scene.deploy("1.0")
    before = count(scene)

    def ask(what: str) -> None:
        rollout = scene.house.store.rollouts.in_progress("shop")
        if (
            rollout
            and what.startswith("after set_traffic")
            and scene.live.share
            and not scene.house.store.requests.next(2)
        ):
            scene.world.tick = lambda _what: None
            scene.house.store.requests.add(rollout, kind, "bo@desk", "why")

    scene.world.tick = ask
    scene.deploy("2.0", "canary")
    assert told(scene, before)[1:3] == lines


def test_a_signal_is_taken_for_the_person_who_runs_it(scene: Scene) -> None:
    scene.deploy("1.0")
    before = count(scene)
    scene.world.tick = lambda what: scene.house.stop.asked.set() if what.startswith("after set_traffic") else None
    scene.deploy("2.0", "canary")
    assert told(scene, before)[1] == "abort begun by ann@build-3: aborted by a signal to this process"


def test_a_rollback_and_a_down(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    before = count(scene)
    operations.rollback(scene.house, "shop", reason="slow")
    operations.down(scene.house, "shop", "moved away")
    assert told(scene, before) == [
        "rollback begun by ann@build-3: slow",
        "promote done by deployer",
        "end done by deployer: r1 (1.0) is live",
        "down begun by ann@build-3: moved away",
        "down done by ann@build-3: moved away",
    ]
    assert "shop-r1-1" in scene.house.store.audit_log.newest(1)[0].detail


def test_a_lock_that_is_taken_away(scene: Scene) -> None:
    lock = scene.house.store.locks.take("shop", "canary of 2.0")
    scene.house.store.locks.break_("shop", "ci-3 hangs")
    assert told(scene) == ["release-lock done by ann@build-3: ci-3 hangs"]
    assert f"(pid {lock.pid} on build-3): canary of 2.0" in scene.house.store.audit_log.newest(1)[0].detail
    scene.house.store.locks.break_("shop", "again")
    assert count(scene) == 1, "nobody held it: nothing was done"


def test_a_freeze_that_is_overridden(scene: Scene) -> None:
    daily = {"freeze": ["00:00-23:59"]}
    with pytest.raises(Refused, match="frozen"):
        scene.deploy("1.0", manifest=daily)
    assert told(scene) == []
    scene.deploy("1.0", manifest=daily, override_freeze="the shop is down")
    assert told(scene)[0] == "override-freeze done by ann@build-3: the shop is down"


# -- the same transaction


def test_an_overtaken_process_records_nothing(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    lock = scene.house.store.locks.take("shop", "test")
    run = run_of(scene.house, lock, scene.house.store.rollouts.get(2))
    scene.house.store.locks.break_("shop", "test")
    before = count(scene)
    with pytest.raises(LockLost):
        scene.house.store.rollouts.promoted(lock, run.rollout, run.rollout.plan.commit, {})
    with pytest.raises(LockLost):
        scene.house.store.audit.record(AuditEntry("resume", "shop"), lock)
    assert count(scene) == before


def test_a_crash_leaves_both_or_neither(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    store, before = scene.house.store, count(scene)
    rollout = store.rollouts.get(2)
    added = store.audit.add

    def after_the_record(db: Connection, deed: AuditEntry) -> None:
        added(db, deed)
        raise Crash("before the commit")

    monkeypatch.setattr(store.audit, "add", after_the_record)
    with pytest.raises(Crash):
        store.requests.add(rollout, "abort", "bo@desk", "why")
    with pytest.raises(Crash):
        operations.stop(scene.house, "shop")
    assert store.requests.next(2) is None
    assert store.rollouts.get(2).phase == "forward"
    assert count(scene) == before


def test_what_cannot_be_recorded_is_not_done(scene: Scene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    with scene.house.store.database.transaction() as db:
        db.execute("alter table audit rename to gone")
    with pytest.raises(StoreDamaged, match="these tables differ"):
        operations.promote(scene.house, "shop")
    assert (scene.live.stable, scene.house.store.services.get("shop").stable) == ("blue", 1)


# -- one record


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "a/b"}, "CI https://github.com/a/b/actions/runs/7"),
        ({"CI": "true", "CI_JOB_URL": "https://bot:geheim@git.example/j/9"}, "CI https://git.example/j/9"),
        ({"BUILD_URL": "http://ci/job/3/"}, "CI http://ci/job/3/"),
        ({"CI": "true"}, "CI a job"),
    ],
)
def test_a_ci_job_is_named_without_its_password(environ: dict[str, str], told: str) -> None:
    assert origin(environ) == told


def test_where_a_person_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.ttyname", lambda _descriptor: "/dev/pts/9")
    assert origin({}) == "/dev/pts/9"
    assert origin({"SSH_CONNECTION": "192.0.2.7 4711 192.0.2.1 22"}) == "ssh from 192.0.2.7, /dev/pts/9"


def test_without_a_terminal_the_parent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_terminal(_descriptor: int) -> str:
        raise OSError("not a terminal")

    monkeypatch.setattr("os.ttyname", no_terminal)
    assert origin({}).startswith("no terminal, started by ")


@pytest.mark.parametrize("reason", ["a\0b", "caf\udce9", "x" * 100_000, "zwei\nZeilen \x1b[31m", '"}\\', "日本"])
def test_any_text_can_be_recorded(state: Path, reason: str) -> None:
    store = Store(state, SystemClock())
    store.audit.record(AuditEntry("down", "shop", reason=reason))
    assert not store.audit_log.verify().broken
    kept = store.audit_log.newest(1)[0].reason
    assert len(kept) <= REASON
    assert kept[:20] == reason[:20].replace("\0", "\\x00").replace("\udce9", "\\udce9")[:20]
    store.database.close()


def test_a_record_costs_the_same_however_many_there_are(state: Path) -> None:
    store = Store(state, SystemClock())
    store.audit.record(AuditEntry("down", "shop"))
    few = steps(store)
    with store.database.transaction() as db:
        for _ in range(5000):
            store.audit.add(db, AuditEntry("down", "shop"))
    assert steps(store) < few + 50
    store.database.close()


def steps(store: Store) -> int:
    """Count the instructions of SQLite's machine that one record takes."""
    taken = 0

    def step() -> int:
        nonlocal taken
        taken += 1
        return 0

    with store.database.reading() as connection:
        assert isinstance(connection, sqlite3.Connection)
        connection.set_progress_handler(step, 1)
        store.audit.record(AuditEntry("down", "shop"))
        connection.set_progress_handler(None, 1)
    assert taken > 20
    return taken

"""What a store promises, by each database that carries it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.cost import cost
from deployer.app.jobs.runs import run_now
from deployer.app.operations import adjust
from deployer.app.operations.execution import locked
from deployer.core.errors import LockLost, Refused
from deployer.core.events import Event
from deployer.store import Rollout, Store, Vote, adoption
from deployer.store.database import Duplicate
from deployer.store.loads import SeenLoads
from deployer.store.upkeep import last_rollout, latest
from tests.house import Scene
from tests.memory import PaperPulse, World
from tests.postgres import Bouncer, Server

pytestmark = pytest.mark.xdist_group("postgres")

HELD = {"percent": 10, "hold": True}
JOBS = {"schedule": {"nightly": {"cron": "0 3 * * *", "command": ["bin/nightly"]}}}
# What differs from one run to the next: who it was, and what is drawn at random.
OF_A_RUN = {"meta": {"value"}, "locks": {"pid", "pid_started", "beat", "boot"}, "audit": {"pid", "before", "hash"}}

Opener = Callable[[Path, World], Store]


def in_postgres(postgres: Server) -> Opener:
    from deployer.store.postgres.shared import opened

    return lambda folder, world: Store(folder, world.clock, shared=opened(postgres.schema(), world.clock))


def by_bouncer(bouncer: Bouncer) -> Opener:
    from deployer.store.postgres.shared import opened

    return lambda folder, world: Store(folder, world.clock, shared=opened(bouncer.address(), world.clock))


BOUNCED = pytest.param("pgbouncer", marks=pytest.mark.long("the same once more, a connection for each transaction"))


@pytest.fixture(params=["sqlite", "postgresql", BOUNCED])
def opener(request: pytest.FixtureRequest) -> Opener:
    if request.param == "sqlite":
        return lambda folder, world: Store(folder, world.clock)
    if request.param == "pgbouncer":
        return by_bouncer(request.getfixturevalue("bouncer"))
    return in_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def scene(state: Path, opener: Opener, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    world = World()
    made = Scene(state, world, opener(state, world))
    with made.house:
        yield made
    made.house.store.close()


@pytest.fixture
def store(scene: Scene) -> Store:
    return scene.house.store


def held(scene: Scene) -> Rollout:
    """Have a rollout that is paused."""
    scene.deploy("1.0")
    scene.deploy("2.0", "canary", options=HELD)
    rollout = scene.house.store.rollouts.in_progress("shop")
    assert rollout is not None
    return rollout


# -- the same story, told to both


def story(scene: Scene) -> None:
    """Do what services go through."""
    ending = scene.deploy("1.0", manifest=JOBS)
    assert ending.outcome == "done", ending.text
    scene.world.jobs.codes["nightly"] = 0
    run_now(scene.house, "shop", "nightly", "to see")
    scene.deploy("2.0", "canary", manifest=JOBS, options=HELD)
    operations.promote(scene.house, "shop")
    adjust.scale(scene.house, "shop", 3, 0, "many guests")
    scene.world.broken.add("3.0")
    scene.deploy("3.0", manifest={"keep": {"events": 1}})
    operations.rollback(scene.house, "shop")
    scene.deploy("4.0", "canary", options=HELD)
    operations.stop(scene.house, "shop")


def contents(store: Store) -> dict[str, list[dict[str, Any]]]:
    """Read all tables, without what differs from run to run, and without homes: only a shared store needs them."""
    names = [*OF_A_RUN, "services", "sizes", "releases", "rollouts", "journal", "control_requests", "owed_notices"]
    names += ["approvals", "events", "ports", "job_runs", "job_times"]
    found = {}
    for name in names:
        rows = sorted((dict(row) for row in store.database.rows(f"select * from {name}")), key=str)
        rows = [row for row in rows if not str(row.get("key", "")).startswith("home:")]
        found[name] = [{k: v for k, v in row.items() if k not in OF_A_RUN.get(name, ())} for row in rows]
    return found


def test_both_hold_the_same_after_the_same_story(
    state: Path, postgres: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    monkeypatch.setattr(Store, "secret", lambda store, name: "7" * 32)  # else drawn
    told: list[Any] = []
    openers: tuple[Opener, Opener] = (lambda folder, world: Store(folder, world.clock), in_postgres(postgres))
    for opener in openers:
        with ExitStack() as undo:
            folder = state / "told"  # the same path: plans and audit records have it
            folder.mkdir(mode=0o700)
            world = World()
            made = Scene(folder, world, opener(folder, world))
            undo.callback(folder.rename, state / f"told{len(told)}")
            undo.callback(made.house.store.close)
            with made.house:
                story(made)
                made.house.store.database.whole()
                times = made.house.store.rollouts.times(0, (1, 2))
                told.append((contents(made.house.store), times, [event.kind for event in made.events]))
    assert len(told[0][0]["rollouts"]) == 5
    assert told[0] == told[1]


def add_event(store: Store, fails: bool = False) -> int:
    """Add an event, or begin to."""
    with store.database.transaction() as db:
        query = "insert into events (at, service, rollout, kind, data) values (?, '', 1, '', '')"
        number = db.insert(query, (1.0,), "id")
        if fails:
            raise ZeroDivisionError
        return number


def set_value(store: Store, key: str, value: str, fails: bool = False) -> None:
    with store.database.transaction() as db:
        db.execute("insert into meta values (?, ?)", (key, value))
        if fails:
            raise ZeroDivisionError


def run_job(store: Store, times: int = 1) -> None:
    query = "insert into job_runs (service, job, release, due, by, reason, started_at) values (?, ?, 1, 0, '', '', 0)"
    with store.database.transaction() as db:
        for _ in range(times):
            db.insert(query, ("shop", "nightly"), "number")


# -- each promise


def test_numbers_have_no_holes_and_are_given_once(scene: Scene, store: Store) -> None:
    scene.deploy("1.0")
    rollout = store.rollouts.of("shop")[0]
    ids = [event.id for event in store.events.of(rollout.number)]
    assert ids == list(range(1, len(ids) + 1))
    with pytest.raises(ZeroDivisionError):
        add_event(store, fails=True)
    assert add_event(store) == ids[-1] + 1
    with store.database.transaction() as db:
        db.number_after("rollouts", 41)
    scene.deploy("2.0")
    assert store.rollouts.of("shop")[0].number == 42
    assert last_rollout(store) == 42
    assert latest(store) > 1


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    with pytest.raises(ZeroDivisionError):
        set_value(store, "a", "1", fails=True)
    assert store.database.rows("select * from meta where key = 'a'") == []


def test_two_rollouts_of_a_service_exclude_each_other(scene: Scene, store: Store) -> None:
    rollout = held(scene)
    with locked(scene.house, "shop", "test") as lock, pytest.raises(Refused, match="has a rollout in progress"):
        store.rollouts.begin(lock, rollout.plan, Path("/x"), "me", "")
    with pytest.raises(Duplicate):
        run_job(store, times=2)
    assert store.jobs.of("shop") == ()


def test_a_step_that_begins_again_keeps_its_wake_time(scene: Scene, store: Store) -> None:
    rollout = held(scene)
    with locked(scene.house, "shop", "test") as lock:
        assert store.journal.began(lock, rollout.number, "back", 0, 50.0).until == 50.0
        assert store.journal.began(lock, rollout.number, "back", 0, 70.0).until == 50.0
        assert store.journal.began(lock, rollout.number, "back", 1).until == 0.0
        assert store.journal.began(lock, rollout.number, "back", 1, 70.0).until == 70.0


def test_a_person_counts_once_and_what_they_said_last_is_last(scene: Scene, store: Store) -> None:
    rollout = held(scene)
    with locked(scene.house, "shop", "test") as lock:
        store.journal.began(lock, rollout.number, "forward", 0, store.clock.now() + 60)
    until = store.journal.entry(rollout.number, "forward", 0).until  # type: ignore[union-attr]
    for by, refused in (("anna@a", False), ("ben@b", False), ("Anna@c", True)):
        store.approvals.speak(rollout, 0, until, Vote(by, "", refused, "", 1.0, 0), "said")
    assert [(vote.by, vote.refused) for vote in store.approvals.at(rollout.number, 0, until)] == [
        ("ben@b", False),
        ("Anna@c", True),
    ]


def test_text_of_every_kind_comes_back(store: Store) -> None:
    text = "ü 漢 🦆 %s ? ' \" \\ \n"
    set_value(store, "%?", text)
    assert [row["value"] for row in store.database.rows("select value from meta where key = ?", "%?")] == [text]


def test_the_audit_log_is_only_added_to(scene: Scene, store: Store) -> None:
    scene.deploy("1.0")
    before = store.audit_log.verify()
    assert (before.broken, before.records > 1) == (0, True)
    for statement in (
        "update audit set by = 'me' where n = 1",
        "delete from audit where n = 1",
        "insert into audit select n + 7, at, by, uid, host, pid, origin, version, service, rollout, release, action,"
        " result, detail, reason, hash, hash from audit where n = 1",
    ):
        with pytest.raises(Exception, match="only added to"), store.database.transaction() as db:
            db.execute(statement)
    assert store.audit_log.verify() == before
    assert [record.n for record in store.audit_log.newest(2)] == [before.records, before.records - 1]
    assert len(list(store.audit_log.export())) == before.records + 1
    with store.database.transaction() as db:
        db.execute("drop trigger audit_no_delete" if store.file.exists() else "drop trigger audit_no_delete on audit")
        db.execute("delete from audit where n = ?", (before.records,))
    assert "missing at the end" in store.audit_log.verify().problem
    assert store.audit_log.verify().broken == before.records


def test_who_was_overtaken_can_write_nothing(scene: Scene, store: Store) -> None:
    rollout = held(scene)
    lock = store.locks.take("shop", "first")
    store.locks.release(lock)
    second = store.locks.take("shop", "second")
    assert second.token == lock.token + 1
    for write in (
        lambda: store.events.add(lock, Event("note", 1.0, "shop", 1, {})),
        lambda: store.journal.began(lock, rollout.number, "back", 0),
        lambda: store.services.set_warm(lock, 1, "blue", 2.0),
        lambda: store.sizes.clear(lock, ""),
        lambda: store.locks.renew(lock),
    ):
        with pytest.raises(LockLost, match="was overtaken by"):
            write()
    store.locks.release(second)


def test_a_port_is_given_once_over_all_services(scene: Scene, store: Store) -> None:
    ports, given = range(21000, 21006), []
    for service in ("shop", "cart"):
        with locked(scene.house, service, "test") as lock:
            given += [store.ports.assign(lock, 1, index, ports, lambda _port: True).number for index in range(2)]
            again = store.ports.assign(lock, 1, 0, ports, lambda _port: True).number
            assert again == given[-2]
            store.ports.free(lock, 1, 1)
    assert len(set(given)) == 4
    with locked(scene.house, "shop", "test") as lock:
        store.ports.free_others(lock, {(1, 1)})
        assert store.ports.of("shop") == ()


def test_a_lost_store_is_written_again(scene: Scene, store: Store) -> None:
    known = adoption.Recovered("shop", (), 3, 0, "blue", 0.0, (), None, 7)
    lost = adoption.LostStore("a" * 32, "key", 17)
    with locked(scene.house, "shop", "test") as lock:
        adoption.adopt(store, lost, [lock], [known], by="me")
    assert adoption.adopted(store, "shop") is not None
    assert (store.releases.next_number("shop"), store.services.get("shop").stable, last_rollout(store)) == (8, 3, 17)
    assert adoption.is_blank(store)


def test_writers_take_turns(store: Store) -> None:
    """What one has read in its transaction nobody else changes before its end."""

    def add() -> None:
        for _ in range(10):
            with store.database.transaction() as db:
                row = db.execute("select value from meta where key = 'sum'").fetchone()
                db.execute("update meta set value = ? where key = 'sum'", (str(int(row["value"]) + 1),))

    set_value(store, "sum", "0")
    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert [row["value"] for row in store.database.rows("select value from meta where key = 'sum'")] == ["40"]


# -- what it cost


def test_what_ran_and_what_a_keeper_saw(scene: Scene, store: Store) -> None:
    scene.deploy("1.0")
    adjust.scale(scene.house, "shop", 3, 0, "many guests")
    scene.world.clock.sleep(3600)
    steps = [(each.step.kind, each.done >= each.began > 0) for each in store.journal.sizing("shop")]
    assert steps == [("start", True), ("promote", True), ("start", True)]
    for peak in (9, 14, 3):
        store.loads.add("shop", SeenLoads(300.0, 100, 10, 200, 2000, 50.5, peak))
    store.loads.add("blog", SeenLoads(300.0, 100))
    assert store.loads.of("shop", 0, 301) == (SeenLoads(300.0, 300, 30, 600, 6000, 151.5, 14),)
    assert store.loads.of("shop", 0, 300) == ()
    operations.down(scene.house, "shop", "the end")
    (moment,) = store.audit_log.moments("shop", "down")[-1:]
    assert moment == pytest.approx(scene.world.clock.now(), abs=5)
    view = cost(scene.house, "shop", scene.world.clock.now() - 4000, scene.world.clock.now())
    assert view.total.hours == pytest.approx(3.0, rel=0.01)

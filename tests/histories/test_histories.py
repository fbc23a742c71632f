"""A recorded store: brought to the present schema, read, shown, and brought to its right end by the present code.

What the history is and how it is recorded: record.py.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.operations import AppContext
from deployer.app.reports.gather import gather
from deployer.app.status import status_of
from deployer.core.errors import Locked, Refused, StoreDamaged
from deployer.planning.guest_steps import Evict, Freeze
from deployer.planning.kinds import KINDS, from_dict
from deployer.planning.steps import Pause, Step
from deployer.store import Store
from deployer.store.schema import MIGRATIONS
from deployer.views.report import FORMATS, render
from tests.histories import replayed
from tests.histories.record import ROLLOUT, STEP
from tests.house import REPOSITORY, request
from tests.memory import FakeClock, PaperPulse, World

# A schema of some later version: what the runner does with it must not be found out when there is one.
LATER = (
    *MIGRATIONS,
    """
    alter table journal add column note text not null default 'none';

    create table gone (number integer not null references rollouts (number));

    create trigger no_gone before delete on gone
        begin select raise(abort, 'it stays'); end;
    """,
)


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)


# What needs more than a program of this host: guests an engine and a host that is lent, a pause a virtual machine.
NOT_RECORDED: tuple[Step, ...] = (
    Freeze(release=3, colour="blue", deadline=60),
    Evict(release=3, colour="blue", grace=10, until=1.5e9, deadline=60),
    Pause(release=3, colour="green", drain=30, deadline=60),
)


def test_every_kind_of_step_was_recorded() -> None:
    kinds = {kind for rollout in replayed.told() for _, _, kind, *_ in rollout["steps"]}
    there = kinds | {step.kind for step in NOT_RECORDED}
    assert there == set(KINDS), "a new kind: record it; a kind that is gone: old rollouts cannot be read any more"


@pytest.mark.parametrize("step", NOT_RECORDED, ids=lambda step: step.kind)
def test_a_kind_that_was_not_recorded_is_read_back_as_it_was_written(step: Step) -> None:
    assert from_dict(json.loads(json.dumps(step.to_dict()))) == step


# -- the store


def tables(db: sqlite3.Connection) -> dict[str, Any]:
    """What a store is made of: columns, keys and indices of each table, whatever way it came to them."""
    names = [
        r[0] for r in db.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
    ]
    made = {}
    for name in names:
        columns = [tuple(r)[1:] for r in db.execute(f"pragma table_info({name})")]
        keys = sorted(tuple(r)[2:] for r in db.execute(f"pragma foreign_key_list({name})"))
        indices = [tuple(r) for r in db.execute(f"pragma index_list({name})")]
        made[name] = (columns, keys, sorted((i[2:], _columns(db, i[1])) for i in indices))
    triggers = sorted(r[0] for r in db.execute("select name from sqlite_master where type = 'trigger'"))
    return {**made, "triggers": triggers}


def _columns(db: sqlite3.Connection, index: str) -> tuple[Any, ...]:
    return tuple(tuple(r)[2:] for r in db.execute(f"pragma index_info({index})"))


def alike(old: Store, fresh: Store, schema: int) -> None:
    old.database.whole()
    with old.database.reading() as a, fresh.database.reading() as b:
        assert isinstance(a, sqlite3.Connection)
        assert isinstance(b, sqlite3.Connection)
        assert tables(a) == tables(b)
        assert a.execute("pragma user_version").fetchone()[0] == schema
        assert not a.execute("pragma foreign_key_check").fetchall()


def test_a_recorded_store_is_as_one_of_today(state: Path) -> None:
    folder = state / "old"
    folder.mkdir()
    replayed.restore(folder)
    with closing(Store(folder, FakeClock())) as old, closing(Store(state / "new", FakeClock())) as fresh:
        alike(old, fresh, len(MIGRATIONS))
    assert not list(folder.glob("deployer.db.schema*")), "there was nothing to migrate"


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.store.sqlite.migrate.MIGRATIONS", LATER)


@pytest.mark.usefixtures("later")
def test_a_recorded_store_becomes_as_one_of_a_later_schema(state: Path) -> None:
    folder = state / "old"
    folder.mkdir()
    replayed.restore(folder)
    before = rows(folder / "deployer.db")
    with closing(Store(folder, FakeClock())) as old, closing(Store(state / "new", FakeClock())) as fresh:
        alike(old, fresh, len(LATER))
        with old.database.reading() as db:
            assert {row["note"] for row in db.execute("select note from journal")} == {"none"}
    (backup,) = folder.glob("deployer.db.schema*")
    assert backup.name.startswith(f"deployer.db.schema{len(MIGRATIONS)}-2")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert rows(backup) == before
    assert not list(folder.glob(".deployer.db*"))


@pytest.mark.usefixtures("later")
def test_all_of_it_is_read_after_a_migration(state: Path) -> None:
    house, _ = replayed.opened(state)
    with house:
        for then in replayed.told():
            same(house, then)


def test_a_store_of_a_later_schema_is_refused(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed.restore(state)
    with monkeypatch.context() as patched:
        patched.setattr("deployer.store.sqlite.migrate.MIGRATIONS", LATER)
        Store(state, FakeClock()).close()
    before = rows(state / "deployer.db")
    with pytest.raises(Refused, match=f"has schema {len(LATER)}, this version knows {len(MIGRATIONS)}"):
        Store(state, FakeClock())
    assert rows(state / "deployer.db") == before


def test_a_store_is_not_migrated_under_a_living_owner(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replayed.restore(state)
    with closing(Store(state, FakeClock())) as store:
        store.locks.take("finished", "at work")
        before = rows(state / "deployer.db")
        monkeypatch.setattr("deployer.store.sqlite.migrate.MIGRATIONS", LATER)
        with pytest.raises(Locked, match="finished is being changed by"):
            Store(state, FakeClock())
        assert rows(state / "deployer.db") == before
    Store(state, FakeClock()).close()


@pytest.mark.usefixtures("later")
def test_a_store_with_rows_that_refer_to_nothing_is_not_migrated(state: Path) -> None:
    replayed.restore(state)
    with closing(sqlite3.connect(state / "deployer.db")) as db:
        db.execute("delete from rollouts where number = 1")
        db.commit()
    before = rows(state / "deployer.db")
    with pytest.raises(StoreDamaged, match="rows of journal refer to rows of rollouts that are gone"):
        Store(state, FakeClock())
    assert rows(state / "deployer.db") == before


def rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("broken", ["backup", "_migrate"])
def test_the_backup_is_there_before_anything_changes(broken: str, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that cannot be backed up is not migrated; one whose migration fails is as it was."""
    replayed.restore(state)
    before = rows(state / "deployer.db")
    with monkeypatch.context() as patched:
        patched.setattr(f"deployer.store.sqlite.migrate.{broken}", _no_space)
        with pytest.raises(Refused, match="No space left"):
            Store(state, FakeClock())
    assert rows(state / "deployer.db") == before
    Store(state, FakeClock()).close()


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


# -- what is read


@pytest.fixture
def scene(state: Path) -> Iterator[tuple[AppContext, World]]:
    house, world = replayed.opened(state)
    with house:
        yield house, world


def same(house: AppContext, then: dict[str, Any]) -> None:
    """Check that a rollout is shown as it was when it was recorded."""
    now = queries.show(house, then["number"]).to_dict()
    assert {key: now["rollout"][key] for key in ROLLOUT} == {key: then[key] for key in ROLLOUT}
    assert [[step[key] for key in STEP] for step in now["steps"]] == then["steps"]


def test_all_of_it_is_listed_shown_and_reported(scene: tuple[AppContext, World]) -> None:
    house, _ = scene
    listed = {row.number for s in queries.services(house) for row in queries.history(house, s).rollouts}
    assert sorted(listed) == [then["number"] for then in replayed.told()]
    for then in replayed.told():
        same(house, then)
        report = gather(house, queries.show(house, then["number"]))
        assert all(render(report, form) for form in FORMATS)
    for service in queries.services(house):
        assert [p for p in status_of(house, service).problems if "docs/keeper.md" not in p] == []
        assert queries.releases(house, service).releases
    assert house.store.audit_log.verify().problem == ""


# -- what is brought to its end


def resume(house: AppContext, service: str) -> operations.RolloutResult:
    return operations.resume(house, service)


Do = Callable[[AppContext, str], operations.RolloutResult]
ENDS: list[tuple[str, Do, str]] = [
    ("held", resume, "done"),
    ("held", operations.promote, "done"),
    ("held", operations.stop, "reverted"),
    ("watching", resume, "done"),
    ("watching", operations.promote, "done"),
    ("watching", operations.stop, "reverted"),
    ("returning", resume, "reverted"),
    ("returning", operations.promote, "refused"),
    ("returning", operations.stop, "reverted"),
    ("promoted", resume, "done"),
    ("promoted", operations.promote, "done"),
    ("promoted", operations.stop, "refused"),
]


@pytest.mark.parametrize(("service", "do", "end"), ENDS, ids=[f"{s}-{do.__name__}" for s, do, _ in ENDS])
def test_what_is_unfinished_comes_to_its_end(scene: tuple[AppContext, World], service: str, do: Do, end: str) -> None:
    house, world = scene
    world.tick = lambda _what: world.check()
    before = house.store.rollouts.in_progress(service)
    assert before is not None
    if end == "refused":
        with pytest.raises(Refused):
            do(house, service)
        return
    assert do(house, service).outcome == end
    assert house.store.rollouts.in_progress(service) is None
    live = world.live[service]
    users_on = {world.versions[i.release] for i in world.instances.values() if on(i, service, live.stable)}
    assert users_on == ({"2.0"} if end == "done" else {"1.0"})
    assert live.share == 0
    wanted = house.store.services.get(service).stable
    assert house.store.releases.get(service, wanted).version in users_on


def test_what_one_of_two_has_approved_waits_for_the_other(
    scene: tuple[AppContext, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    house, world = scene
    world.tick = lambda _what: world.check()
    (given,) = status_of(house, "asking").approval.given  # type: ignore[union-attr]
    assert given == "dana@build-1"
    with pytest.raises(Refused, match="needs the approval of dana and ben"):
        operations.promote(house, "asking")
    monkeypatch.setenv("DEPLOYER_ACTOR", "ben")
    operations.approve(house, "asking")
    assert resume(house, "asking").outcome == "done"


def on(instance: Any, service: str, colour: str) -> bool:
    return bool(instance.service == service and instance.colour == colour)


def test_the_next_deploy_and_its_way_back_work(scene: tuple[AppContext, World]) -> None:
    house, world = scene
    started = {"runtime": "process", "image": "releases/{version}", "command": ["./run"]}
    before = house.store.services.get("finished").stable
    wanted = request("9.0", "bluegreen", REPOSITORY, manifest={"service": "finished", **started})
    with pytest.raises(Refused, match=r"r6 \(1\.0\) must not run beside another release"):
        operations.deploy(house, wanted)  # recreate brought it out
    assert operations.deploy(house, replace(wanted, strategy="recreate")).outcome == "done"
    assert world.versions[house.store.services.get("finished").stable] == "9.0"
    assert operations.rollback(house, "finished").outcome == "done"
    assert house.store.services.get("finished").stable == before
    with pytest.raises(Locked, match=r"rollout 14 of held .* is in progress"):
        operations.deploy(house, request("9.0", "bluegreen", REPOSITORY, manifest={"service": "held", **started}))

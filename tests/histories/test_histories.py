"""Stores of every schema that ever was: read, shown, and brought to their right end by the present code.

What a history is and how one is recorded: record.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deployer import operations, queries
from deployer.errors import Locked, Refused
from deployer.operations import House
from deployer.reporting.gather import gather
from deployer.steps import KINDS
from deployer.store import Store
from deployer.store.schema import MIGRATIONS
from deployer.views.report import FORMATS, render
from tests.histories import replayed
from tests.house import REPOSITORY, request
from tests.memory import FakeClock, PaperPulse, World

HISTORIES = replayed.recorded()
every_history = pytest.mark.parametrize("history", HISTORIES, ids=lambda path: path.name)


@pytest.fixture(autouse=True)
def _paper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.engine.walk.Pulse", PaperPulse)


def test_every_schema_has_its_history() -> None:
    missing = set(range(1, len(MIGRATIONS) + 1)) - {replayed.schema_of(h) for h in HISTORIES}
    assert not missing, "python -m tests.histories.record, with the version that brought the schema"


def test_every_kind_of_step_was_recorded() -> None:
    kinds = {step["kind"] for history in HISTORIES for view in replayed.told(history) for step in view["steps"]}
    assert kinds == set(KINDS), "a new kind: record it; a kind that is gone: old rollouts cannot be read any more"


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


@every_history
def test_a_store_of_before_becomes_as_one_of_today(history: Path, state: Path) -> None:
    folder, new = state / "old", state / "new"
    folder.mkdir()
    replayed.restore(history, folder)
    before = rows(folder / "deployer.db")
    with closing(Store(folder, FakeClock()).database) as old, closing(Store(new, FakeClock()).database) as fresh:
        old.whole()
        with old.reading() as a, fresh.reading() as b:
            assert tables(a) == tables(b)
            assert a.execute("pragma user_version").fetchone()[0] == len(MIGRATIONS)
            assert not a.execute("pragma foreign_key_check").fetchall()
    backups = list(folder.glob("deployer.db.schema*"))
    if replayed.schema_of(history) == len(MIGRATIONS):
        assert backups == []
        return
    (backup,) = backups
    assert backup.name.startswith(f"deployer.db.schema{replayed.schema_of(history)}-2")
    assert backup.stat().st_mode & 0o777 == 0o600
    assert rows(backup) == before
    assert not list(folder.glob(".deployer.db*"))


def rows(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


@every_history
def test_the_backup_is_there_before_anything_changes(
    history: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that cannot be backed up is not migrated; one whose migration fails is as it was."""
    if replayed.schema_of(history) == len(MIGRATIONS):
        return
    replayed.restore(history, state)
    before = rows(state / "deployer.db")
    for broken in ("deployer.store.migrate.backup", "deployer.store.migrate._migrate"):
        with monkeypatch.context() as patched:
            patched.setattr(broken, _no_space)
            with pytest.raises(Refused, match="No space left"):
                Store(state, FakeClock())
        assert rows(state / "deployer.db") == before
    Store(state, FakeClock()).database.close()


def _no_space(*_: object) -> None:
    raise OSError(28, "No space left on device")


# -- what is read


@pytest.fixture(params=HISTORIES, ids=lambda path: path.name)
def scene(request: pytest.FixtureRequest, state: Path) -> Iterator[tuple[Path, House, World]]:
    history: Path = request.param
    house, world = replayed.opened(history, state)
    with house:
        yield history, house, world


def test_all_of_it_is_listed_shown_and_reported(scene: tuple[Path, House, World]) -> None:
    history, house, _ = scene
    told = replayed.told(history)
    listed = {row.number: row for s in queries.services(house) for row in queries.history(house, s).rollouts}
    assert sorted(listed) == [view["rollout"]["number"] for view in told]
    for then in told:
        number = then["rollout"]["number"]
        now = queries.show(house, number).to_dict()
        same = ("number", "strategy", "origin", "release", "version", "outcome", "exit", "by", "message")
        assert {key: now["rollout"][key] for key in same} == {key: then["rollout"][key] for key in same}
        assert [_step(s) for s in now["steps"]] == [_step(s) for s in then["steps"]]
        report = gather(house, queries.show(house, number))
        assert all(render(report, form) for form in FORMATS)
    for service in queries.services(house):
        assert queries.status(house, service).problems == ()
        assert queries.releases(house, service).releases
    assert house.store.audit_log.verify().problem == ""


def _step(step: dict[str, Any]) -> tuple[Any, ...]:
    return step["phase"], step["n"], step["kind"], step["state"], step["text"], step["error"]


# -- what is brought to its end


def resume(house: House, service: str) -> operations.Ending:
    return operations.resume(house, service)


Do = Callable[[House, str], operations.Ending]
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
def test_what_is_unfinished_comes_to_its_end(scene: tuple[Path, House, World], service: str, do: Do, end: str) -> None:
    _, house, world = scene
    world.tick = lambda _what: world.check()
    before = house.store.open_rollout(service)
    assert before is not None
    if end == "refused":
        with pytest.raises(Refused):
            do(house, service)
        return
    assert do(house, service).outcome == end
    assert house.store.open_rollout(service) is None
    live = world.live[service]
    users_on = {world.versions[i.release] for i in world.instances.values() if on(i, service, live.stable)}
    assert users_on == ({"2.0"} if end == "done" else {"1.0"})
    assert live.share == 0
    wanted = house.store.service(service).stable
    assert house.store.release(service, wanted).version in users_on


@pytest.mark.parametrize("history", [h for h in HISTORIES if replayed.schema_of(h) >= 6], ids=lambda path: path.name)
def test_what_one_of_two_has_approved_waits_for_the_other(
    history: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, world = replayed.opened(history, state)
    with house:
        world.tick = lambda _what: world.check()
        (given,) = queries.status(house, "asking").approval.given  # type: ignore[union-attr]
        assert given == "dana@build-1"
        with pytest.raises(Refused, match="needs the approval of dana and ben"):
            operations.promote(house, "asking")
        monkeypatch.setenv("DEPLOYER_ACTOR", "ben")
        operations.approve(house, "asking")
        assert resume(house, "asking").outcome == "done"


def on(instance: Any, service: str, colour: str) -> bool:
    return bool(instance.service == service and instance.colour == colour)


def test_the_next_deploy_and_its_way_back_work(scene: tuple[Path, House, World]) -> None:
    _, house, world = scene
    started = {"runtime": "process", "image": "releases/{version}", "command": ["./run"]}
    before = house.store.service("finished").stable
    wanted = request("9.0", "bluegreen", REPOSITORY, manifest={"service": "finished", **started})
    assert operations.deploy(house, wanted).outcome == "done"
    assert world.versions[house.store.service("finished").stable] == "9.0"
    assert operations.rollback(house, "finished").outcome == "done"
    assert house.store.service("finished").stable == before
    with pytest.raises(Locked, match=r"rollout 13 of held .* is unfinished"):
        operations.deploy(house, request("9.0", "bluegreen", REPOSITORY, manifest={"service": "held", **started}))

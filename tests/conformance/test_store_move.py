"""Records that are moved into a database and back: all of them, once, and only while nothing is going on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, store_move
from deployer.app.attendance import KEEPER, announced
from deployer.app.jobs.runs import run_now
from deployer.core.clock import SystemClock
from deployer.core.errors import Locked, Refused, StoreFailed
from deployer.evidence.recording import file_of
from deployer.evidence.shared_recording import brought
from deployer.model import SecretText
from deployer.store import Store, copying
from deployer.store.copying import TABLES
from deployer.store.opening import VARIABLE, open_store, remembered
from tests.house import Scene
from tests.memory import PaperPulse, World
from tests.postgres import Server

pytestmark = pytest.mark.xdist_group("postgres")

NAMES = frozenset({"TOKEN"})
LINES = '{"recording":1}\n{"idle":[1.0],"share":0}\n'


@pytest.fixture
def environ(postgres: Server) -> dict[str, str]:
    return {VARIABLE: postgres.schema()}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def folder(state: Path, world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a state folder with records of every kind."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    jobs = {"schedule": {"nightly": {"cron": "0 3 * * *", "command": ["bin/nightly"]}}}
    scene = Scene(state, world)
    with scene.house as house:
        scene.deploy("1.0", manifest=jobs)
        scene.world.jobs.codes["nightly"] = 0
        run_now(house, "shop", "nightly", "to see")
        scene.deploy("2.0", "canary", manifest=jobs)
        operations.rollback(house, "shop")
        house.vault.save("shop", 1, {"TOKEN": SecretText("opensesame-42")})
    file_of(state, 2).parent.mkdir(exist_ok=True)
    file_of(state, 2).write_text(LINES + '{"at":')  # whoever wrote it was killed
    return state


def contents(store: Store, *but: str) -> dict[str, list[Any]]:
    found = {}
    for table in TABLES:
        rows = [dict(row) for row in store.database.rows(f"select * from {table} order by 1")]
        found[table] = [{k: int(v) if isinstance(v, bool) else v for k, v in row.items()} for row in rows]
    found["meta"] = [row for row in found["meta"] if row["key"] == "installation"]
    found["audit"] = [row for row in found["audit"] if row["action"] != "store move"]
    return found


def into(folder: Path, environ: dict[str, str]) -> store_move.MovedRecords:
    return store_move.into_database(folder, SystemClock(), environ)


def back(folder: Path) -> store_move.MovedRecords:
    return store_move.into_file(folder, SystemClock(), {})


def opened(folder: Path) -> closing[Store]:
    return closing(open_store(folder, SystemClock(), {}))


def test_all_records_are_there_and_come_back(folder: Path, environ: dict[str, str]) -> None:
    with opened(folder) as store:
        before = contents(store)
    moved = into(folder, environ)
    assert (moved.services, moved.releases, moved.secrets, moved.recordings) == (1, 2, 1, 1)
    assert not (folder / "deployer.db").exists()
    assert not list((folder / "secrets").rglob("r*.json"))
    with opened(folder) as store:
        assert store.shared is not None
        assert contents(store) == before
        assert store.audit_log.verify().broken == 0
        assert store.vault.load("shop", 1, NAMES)["TOKEN"].reveal() == "opensesame-42"
        assert store.homes.of("shop").endswith(f":{folder}")
        file_of(folder, 2).unlink()
        assert brought(store, 2).read_text() == LINES
        file_of(folder, 2).unlink()
    with Scene(folder, store=open_store(folder, SystemClock(), {})).house as house:  # numbers go on
        assert house.store.rollouts.of("shop")[0].number == 3
    back(folder)
    assert remembered(folder) is None
    with opened(folder) as store:
        assert store.shared is None
        assert contents(store) == before
        assert store.audit_log.verify().broken == 0
        assert store.vault.load("shop", 1, NAMES)["TOKEN"].reveal() == "opensesame-42"
        assert file_of(folder, 2).read_text() == LINES
    with pytest.raises(Refused, match="were moved to"):
        open_store(folder / "other", SystemClock(), environ)


def test_it_is_refused_while_a_rollout_is_in_progress(folder: Path, world: World, environ: dict[str, str]) -> None:
    scene = Scene(folder, world)
    with scene.house:
        scene.deploy("3.0", "canary", options={"percent": 10, "hold": True})
    with pytest.raises(Refused, match="rollout 4 of shop is in progress"):
        into(folder, environ)
    with opened(folder) as store:
        assert store.shared is None, "nothing was moved"


def test_it_is_refused_while_somebody_works(folder: Path, environ: dict[str, str]) -> None:
    with opened(folder) as store:
        lock = store.locks.take("shop", "canary of 3.0")
        with pytest.raises(Locked, match=r"canary of 3\.0"):
            into(folder, environ)
        store.locks.release(lock)
        with announced(store, KEEPER), pytest.raises(Refused, match="stop `deploy serve`"):
            into(folder, environ)
    into(folder, environ)
    with opened(folder) as store, announced(store, KEEPER), pytest.raises(Refused, match="stop `deploy serve`"):
        back(folder)
    back(folder)


def test_who_has_the_former_store_open_writes_nothing_more(folder: Path, environ: dict[str, str]) -> None:
    with opened(folder) as store:
        into(folder, environ)
        with pytest.raises(StoreFailed, match="was moved or removed"):
            store.locks.take("shop", "canary of 3.0")
    with opened(folder) as store:
        back(folder)
        with pytest.raises(StoreFailed, match="they were moved, or removed"):
            store.locks.take("shop", "canary of 3.0")


def refusals(folder: Path, environ: dict[str, str]) -> dict[str, Callable[[], object]]:
    return {
        "no database is named": lambda: into(folder, {}),
        "has no records": lambda: into(folder / "none", environ),
        "works with its own file already": lambda: back(folder),
    }


@pytest.mark.parametrize("said", refusals(Path(), {}))
def test_what_cannot_be_moved_is_said(folder: Path, environ: dict[str, str], said: str) -> None:
    with pytest.raises(Refused, match=said):
        refusals(folder, environ)[said]()


def test_a_database_with_records_is_refused(folder: Path, environ: dict[str, str]) -> None:
    with Scene(folder / "other", store=open_store(folder / "other", SystemClock(), environ)).house as house:
        house.store.services.all()
        scene = Scene(folder / "other", store=house.store)
        scene.deploy("1.0")
    with pytest.raises(Refused, match="has records already"):
        into(folder, environ)
    with opened(folder) as store:
        assert store.shared is None
    with pytest.raises(Refused, match="works with postgresql"):
        into(folder / "other", environ)


def test_who_was_killed_between_the_copy_and_the_switch_is_told_that_there_are_two(
    folder: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store_move, "remember", killed)
    with pytest.raises(KeyboardInterrupt):
        into(folder, environ)
    monkeypatch.undo()
    with opened(folder) as store:
        assert store.shared is None, "the file is the store as before"
        assert store.services.get("shop").stable
    with pytest.raises(Refused, match="a copy of these records already") as failed:
        into(folder, environ)
    assert "deployer.db" in failed.value.hint


def test_what_is_not_the_same_after_it_was_copied_is_not_moved(
    folder: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    add = copying._add
    monkeypatch.setattr(copying, "_add", lambda db, table, row: table == "journal" or add(db, table, row))
    with pytest.raises(StoreFailed, match="are not the same after they were copied"):
        into(folder, environ)
    monkeypatch.undo()
    into(folder, environ)  # nothing was left there that stands in the way

"""Events do not grow without end: of finished rollouts the newest are kept, of unfinished ones everything."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.reports.gather import gather
from deployer.core.errors import StoreFailed
from deployer.store import damage
from deployer.views import tables
from tests.house import REPOSITORY, Scene, manifest, request


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        yield scene


def few(events: int, **more: Any) -> dict[str, Any]:
    return {"keep": {"events": events}, **more}


def with_events(scene: Scene) -> list[int]:
    """Name the rollouts of which the store has events."""
    with scene.house.store.database.reading() as db:
        return [row[0] for row in db.execute("select distinct rollout from events order by rollout")]


def shown(scene: Scene, number: int) -> str:
    return tables.render(queries.show(scene.house, number), scene.world.clock.now(), tables.uncoloured)


def test_five_hundred_are_kept_unless_the_manifest_says_otherwise() -> None:
    assert manifest().keep.events == 500


def test_the_newest_finished_rollouts_keep_their_events_and_older_ones_their_books(scene: Scene) -> None:
    for version in ("1.0", "2.0", "3.0", "4.0"):
        scene.deploy(version, manifest=few(2))

    assert with_events(scene) == [3, 4]
    store = scene.house.store
    assert [r.outcome for r in store.rollouts.of("shop")] == ["done"] * 4
    assert all(store.journal.of(number) for number in (1, 2, 3, 4))
    assert store.audit_log.verify().broken == 0
    assert "its events are not kept any more (`keep.events`)" in shown(scene, 2)
    assert "not kept" not in shown(scene, 3)
    assert gather(scene.house, queries.show(scene.house, 2)).notes == (
        "its events are not kept any more (`keep.events`)",
    )


def test_a_rollout_that_is_taken_back_counts_as_one_that_came_out(scene: Scene) -> None:
    scene.deploy("1.0", manifest=few(1))
    scene.world.broken.add("2.0")
    assert scene.deploy("2.0", manifest=few(1)).outcome == "reverted"

    assert with_events(scene) == [2]
    assert scene.told("rollout.ended")[-1]["outcome"] == "reverted", "its last event came after the others were removed"
    assert "rollout.ended" in {event.kind for event in scene.house.store.events.of(2)}


def test_an_unfinished_rollout_keeps_all_its_events_whatever_ends_beside_it(scene: Scene) -> None:
    scene.deploy("1.0", manifest=few(1))
    held = scene.deploy("2.0", "canary", manifest=few(1), options={"percent": 10, "hold": True})
    assert held.outcome == "paused"
    before = scene.house.store.events.of(held.rollout), scene.house.store.journal.of(held.rollout)

    for version in ("1.0", "2.0", "3.0"):
        cart = request(version, "bluegreen", REPOSITORY, manifest=few(1, service="cart", image="cart:1.0"))
        assert operations.deploy(scene.house, cart).outcome == "done"

    assert (scene.house.store.events.of(held.rollout), scene.house.store.journal.of(held.rollout)) == before
    assert with_events(scene) == [1, held.rollout, held.rollout + 3], "each service has its own, and one that is open"

    assert operations.promote(scene.house, "shop").outcome == "done"
    assert with_events(scene) == [held.rollout, held.rollout + 3]
    assert [e.id for e in scene.house.store.events.of(held.rollout)][: len(before[0])] == [e.id for e in before[0]]


def test_what_cannot_be_ended_removes_nothing(scene: Scene) -> None:
    """The end and what it removes are one transaction."""
    scene.deploy("1.0", manifest=few(1))
    with closing(sqlite3.connect(scene.house.store.folder / damage.NAME)) as db, db:
        db.execute("create trigger no_end before delete on events begin select raise(abort, 'no'); end")

    with pytest.raises((StoreFailed, sqlite3.Error)):
        scene.deploy("2.0", manifest=few(1))

    assert with_events(scene) == [1, 2]
    rollout = scene.house.store.rollouts.in_progress("shop")
    assert rollout is not None
    assert rollout.number == 2

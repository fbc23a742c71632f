"""Connections that stay open where users are no longer: they follow, in portions, and nobody waits for that."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.operations import RolloutResult
from deployer.app.status import status_of
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit, Refused
from deployer.model import Load
from deployer.planning.steps import Handover
from tests.house import Scene
from tests.memory import MemoryTraffic, World

SLOW = {"traffic": {"handover": {"former": "10s", "rolled_back": "0s"}}}
OFF = {"traffic": {"handover": False}}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, World(talkative=40))
    yield made
    made.house.store.database.close()


@pytest.fixture
def portions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Return each portion that was closed: where, and how many."""
    seen: list[tuple[str, int]] = []
    close = MemoryTraffic.hand_over

    def told(traffic: MemoryTraffic, service: str, colour: Any, part: float, deadline: Any) -> int:
        closed = close(traffic, service, colour, part, deadline)
        seen.append((colour, closed))
        return closed

    monkeypatch.setattr(MemoryTraffic, "hand_over", told)
    return seen


def open_on(scene: Scene) -> dict[str, int]:
    return {e.role: e.open for e in status_of(scene.house, "shop").environments}


def test_a_promotion_closes_what_is_open_on_the_former_release_in_portions(
    scene: Scene, portions: list[tuple[str, int]]
) -> None:
    scene.deploy("1.0")
    began = scene.world.clock.monotonic()
    scene.deploy("2.0", manifest=SLOW, options={"bake": "0s"})
    closed = [n for colour, n in portions if colour == "blue"]
    assert sum(closed) == 40
    assert max(closed) <= 3
    assert scene.world.clock.monotonic() - began >= 9
    assert open_on(scene) == {"stable": 40, "warm": 0}


def test_a_promotion_ends_at_once_when_nothing_is_open(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    scene.deploy("1.0")
    began = scene.world.clock.monotonic()
    scene.deploy("2.0", manifest={"health": {"tcp": True}, **SLOW}, options={"bake": "0s"})
    assert scene.world.clock.monotonic() - began < 5
    scene.house.store.database.close()


def test_one_that_is_opened_just_after_none_was_there_is_closed_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path, World())
    scene.deploy("1.0")
    close, late = MemoryTraffic.hand_over, iter([2])

    def told(traffic: MemoryTraffic, service: str, colour: Any, part: float, deadline: Any) -> int:
        closed = close(traffic, service, colour, part, deadline)
        if count := next(late, 0):
            traffic.world.open[service, colour] = count
        return closed

    monkeypatch.setattr(MemoryTraffic, "hand_over", told)
    scene.deploy("2.0", manifest=SLOW, options={"bake": "0s"})
    assert scene.world.open["shop", "blue"] == 0


def test_a_rollback_closes_what_is_open_on_the_release_that_was_left_at_once(
    scene: Scene, portions: list[tuple[str, int]]
) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    portions.clear()
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert portions == [("green", 40)]
    assert open_on(scene) == {"stable": 40, "warm": 0}


def test_a_candidate_that_is_taken_back_keeps_no_connection(scene: Scene, portions: list[tuple[str, int]]) -> None:
    scene.deploy("1.0")
    scene.world.worse.add("2.0")
    assert scene.deploy("2.0").outcome == "reverted"
    assert portions == [("green", 40)]


def test_switched_off_they_stay(scene: Scene, portions: list[tuple[str, int]]) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", manifest=OFF)
    assert portions == []
    assert open_on(scene) == {"stable": 40, "warm": 40}
    assert not any(isinstance(s, Handover) for s in scene.house.store.rollouts.of("shop", 1)[0].plan.forward)


def test_drain_closes_by_hand_what_is_open_where_no_users_are(scene: Scene, portions: list[tuple[str, int]]) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", manifest=OFF)
    ending = operations.drain_connections(scene.house, "shop", "they hang")
    assert ending.exit == Exit.DONE
    assert ending.text == "40 connections were closed; nothing is open where no users are sent"
    assert open_on(scene) == {"stable": 40, "warm": 0}
    assert operations.drain_connections(scene.house, "shop").text.startswith("there was no connection to close")
    found = [row for row in queries.audit(scene.house, 10, "shop").records if row.action == "drain"]
    assert sorted((row.result, row.reason) for row in found) == [
        ("begun", ""),
        ("begun", "they hang"),
        ("done", ""),
        ("done", "they hang"),
    ]


def test_drain_says_which_requests_are_left(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    monkeypatch.setattr(MemoryTraffic, "load", lambda *_given: {"blue": Load(2), "green": Load(40)})
    assert operations.drain_connections(scene.house, "shop").text.endswith(
        "2 requests are still open after 30 s, and end with their release"
    )


def test_drain_of_what_is_not_at_the_proxy_is_refused(scene: Scene) -> None:
    with pytest.raises(Refused, match="has no connections"):
        operations.drain_connections(scene.house, "shop")


def _during_handover(scene: Scene, do: Any) -> None:
    """Do something once, when the first portion was closed."""
    done: list[str] = []

    def tick(what: str) -> None:
        if what == "after hand_over" and scene.live.stable == "green" and not done:
            done.append(what)
            do()

    scene.world.tick = tick


def test_users_who_are_brought_back_meanwhile_keep_their_connections(
    scene: Scene, portions: list[tuple[str, int]]
) -> None:
    scene.deploy("1.0")

    def emergency() -> None:
        scene.world.live["shop"] = scene.world.history[0]

    _during_handover(scene, emergency)
    assert scene.deploy("2.0", manifest=SLOW).outcome == "done"
    assert [c for c, _ in portions].count("blue") == 1
    assert "stays open: users are sent there again" in scene.told("note")[-1]["text"]


def test_a_signal_ends_it(scene: Scene, portions: list[tuple[str, int]]) -> None:
    scene.deploy("1.0")
    _during_handover(scene, scene.house.stop.asked.set)
    assert scene.deploy("2.0", manifest=SLOW).outcome == "done"
    assert [c for c, _ in portions].count("blue") == 1
    assert "stays open: a signal asked" in scene.told("note")[-1]["text"]


def test_a_rollback_does_not_wait_for_it(tmp_path: Path) -> None:
    """One process closes connections for ten minutes; whoever goes back has the lock within moments."""
    scene = Scene(tmp_path, World(talkative=4000))
    scene.deploy("1.0")
    asked = threading.Event()
    another = replace(Scene(tmp_path, scene.world).house, clock=SystemClock())
    ask = another.store.requests.add

    def told(*given: Any, **named: Any) -> None:
        ask(*given, **named)
        asked.set()

    another.store.requests.add = told  # type: ignore[method-assign]
    ended: list[RolloutResult] = []
    back = threading.Thread(target=lambda: ended.append(operations.rollback(another, "shop")))

    def begin() -> None:
        back.start()
        assert asked.wait(120)

    _during_handover(scene, begin)
    began = scene.world.clock.monotonic()
    scene.deploy("2.0", manifest={"traffic": {"handover": {"former": "10m"}}})
    assert scene.world.clock.monotonic() - began < 60
    assert "waits for the end of this rollout" in scene.told("note")[-1]["text"]
    back.join(300)
    assert [ending.outcome for ending in ended] == ["done"]
    assert scene.live.stable == "blue"
    scene.house.store.database.close()

"""Instances that an engine started elsewhere while a rollout runs, and such as others have changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.house import Scene

ELSEWHERE = "10.0.0.9:21001"
CANARY: dict[str, Any] = {"options": {"percent": 10}}


@pytest.fixture
def scene(state: Path) -> Scene:
    made = Scene(state)
    made.world.moves = True
    made.deploy("1.0")
    return made


def once_given_a_share(scene: Scene, do: Any) -> None:
    """Do something once, as soon as the candidate has users."""

    def tick(what: str) -> None:
        if what.startswith("after set_traffic") and scene.live.share:
            scene.world.tick = lambda _what: None
            do()

    scene.world.tick = tick


def notes(scene: Scene) -> str:
    return "\n".join(each["text"] for each in scene.told("note"))


@pytest.mark.parametrize("name", ["shop-r1-1", "shop-r2-2"], ids=["stable", "candidate"])
def test_an_instance_that_is_elsewhere_gets_its_requests_there(scene: Scene, name: str) -> None:
    once_given_a_share(scene, lambda: scene.world.move(name, ELSEWHERE))
    ending = scene.deploy("2.0", "canary", **CANARY)
    assert ending.outcome == "done"
    assert f"{name} is at {ELSEWHERE} now, and gets its requests there" in notes(scene)
    place = scene.world.instances[name].colour
    assert scene.world.servers["shop", place][name].address == ELSEWHERE
    assert name in scene.world.up("shop", place)


def test_one_that_is_not_healthy_there_yet_gets_none(scene: Scene) -> None:
    attached: list[str] = []

    def fall_ill() -> None:
        scene.world.move("shop-r1-1", ELSEWHERE)
        scene.world.ill.add("blue")
        scene.world.tick = attached.append

    once_given_a_share(scene, fall_ill)
    scene.deploy("2.0", "canary", **CANARY)
    assert scene.world.servers["shop", "blue"]["shop-r1-1"].address != ELSEWHERE
    assert "before attach" not in attached


def test_runtimes_that_move_nothing_are_not_asked(scene: Scene) -> None:
    scene.world.moves = False
    once_given_a_share(scene, lambda: scene.world.move("shop-r1-1", ELSEWHERE))
    scene.deploy("2.0", "canary", **CANARY)
    assert ELSEWHERE not in notes(scene)


def change(scene: Scene, name: str) -> None:
    scene.world.instances[name] = replace(scene.world.instances[name], drift="its image was changed at noon")


def test_a_candidate_that_somebody_else_changed_is_rolled_back(scene: Scene) -> None:
    once_given_a_share(scene, lambda: change(scene, "shop-r2-1"))
    ending = scene.deploy("2.0", "canary", **CANARY)
    assert ending.outcome == "reverted"
    assert "shop-r2-1 is not what r2 says: its image was changed at noon" in ending.text
    assert not scene.live.share


def test_what_somebody_else_changed_of_stable_is_told_once(scene: Scene) -> None:
    once_given_a_share(scene, lambda: change(scene, "shop-r1-1"))
    assert scene.deploy("2.0", "canary", **CANARY).outcome == "done"
    assert notes(scene).count("shop-r1-1 is not what its release says: its image was changed at noon") == 1

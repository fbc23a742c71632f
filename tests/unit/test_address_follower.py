"""Instances that an engine started elsewhere while a rollout runs, and such as others have changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deployer.model import Instance
from tests.house import Scene
from tests.memory import MemoryRuntime
from tests.waiting import within

ELSEWHERE = "10.0.0.9:21001"
CANARY: dict[str, Any] = {"options": {"percent": 10}}


@pytest.fixture
def scene(state: Path) -> Scene:
    made = Scene(state)
    made.world.moves = True
    made.deploy("1.0")
    return made


def once(scene: Scene, when: Callable[[str], bool], do: Callable[[], object]) -> None:
    """Do something once, as soon as a driver is called so."""

    def tick(what: str) -> None:
        if when(what):
            scene.world.tick = lambda _what: None
            do()

    scene.world.tick = tick


def once_given_a_share(scene: Scene, do: Callable[[], object]) -> None:
    """Do something once, as soon as the candidate has users."""
    once(scene, lambda what: what.startswith("after set_traffic") and bool(scene.live.share), do)


def address(scene: Scene, name: str) -> str:
    """Return where the proxy looks for an instance."""
    return scene.world.servers["shop", scene.world.instances[name].colour][name].address


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


@pytest.mark.parametrize("name", ["shop-r1-1", "shop-r2-2"], ids=["stable", "candidate"])
def test_a_stranded_instance_is_moved_and_gets_its_requests_there(scene: Scene, name: str) -> None:
    once_given_a_share(scene, lambda: scene.world.strand(name))
    assert scene.deploy("2.0", "canary", **CANARY).outcome == "done"
    assert scene.world.moved == [name]
    assert f"{name} is started on another host" in notes(scene)
    assert f"{name} is at {ELSEWHERE} now, and gets its requests there" in notes(scene)


def test_a_stranded_instance_that_serves_on_is_left_where_it_is(scene: Scene) -> None:
    """Managers of the engine do not reach its host, and the proxy does."""
    once_given_a_share(scene, lambda: scene.world.strand("shop-r1-1", up=True))
    assert scene.deploy("2.0", "canary", **CANARY).outcome == "done"
    assert scene.world.moved == []


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


# -- in steps that wait for something else


def move_and_wait(scene: Scene, *names: str) -> None:
    """Move instances, and wait until the proxy has followed the last of them."""
    for name in names:
        scene.world.move(name, ELSEWHERE)
    scene.world.clock.sleep(2)  # the next look is due
    within().until(lambda: address(scene, names[-1]) == ELSEWHERE, "it is followed")


def test_stable_is_followed_while_the_candidate_is_started(scene: Scene) -> None:
    once(scene, lambda what: what == "before ensure shop-r2-1", lambda: move_and_wait(scene, "shop-r1-1"))
    assert scene.deploy("2.0", "canary", **CANARY).outcome == "done"


def test_while_a_release_is_removed_only_what_stays_is_followed(scene: Scene) -> None:
    former: list[str] = []

    def move() -> None:
        former.append(address(scene, "shop-r1-1"))
        move_and_wait(scene, "shop-r1-1", "shop-r2-1")
        former.append(address(scene, "shop-r1-1"))

    once(scene, lambda what: what == "drain", move)
    assert scene.deploy("2.0", "canary", manifest={"keep": {"warm": 0}}, **CANARY).outcome == "done"
    assert len(former) == 2
    assert former[0] == former[1], "nobody is sent to what is being removed"


def test_what_is_moved_while_it_is_attached_is_attached_where_it_is(scene: Scene) -> None:
    once(scene, lambda what: what == "before attach", lambda: scene.world.move("shop-r2-2", ELSEWHERE))
    assert scene.deploy("2.0", "canary", **CANARY).outcome == "done"
    assert address(scene, "shop-r2-2") == ELSEWHERE


# -- managers that elect a leader


def elect(scene: Scene, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let nobody of the engine's managers respond, for so long."""
    clock, sleep = scene.world.clock, scene.world.clock.sleep
    until = clock.now() + seconds
    scene.world.silent[""] = "the Swarm has no leader"

    def slept(time: float) -> None:
        sleep(time)
        if clock.now() >= until:
            scene.world.silent.clear()

    monkeypatch.setattr(clock, "sleep", slept)


BEGUN: dict[str, Callable[[Scene, str], bool]] = {
    "start": lambda _scene, what: what.startswith("before ensure"),
    "healthy": lambda _scene, what: what == "after introduce",
    "attach": lambda _scene, what: what == "before attach",
    "promote": lambda scene, what: what.startswith("after set_traffic") and scene.live.stable == "green",
    "remove": lambda _scene, what: what == "drain",
}


@pytest.mark.parametrize("step", BEGUN)
def test_a_leader_is_elected_in_the_middle_of_a_step(scene: Scene, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    once(scene, partial(BEGUN[step], scene), lambda: elect(scene, monkeypatch, 20))
    assert scene.deploy("2.0", "canary", manifest={"keep": {"warm": 0}}, **CANARY).outcome == "done"
    assert not scene.world.silent
    assert {i.release for i in scene.world.instances.values()} == {2}


def test_a_leader_that_is_lost_as_a_removal_looks_hides_nothing_from_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, looks = MemoryRuntime.instances, list[str]()

    def look(runtime: MemoryRuntime, service: str) -> tuple[Instance, ...]:
        seen = read(runtime, service)
        begun = [event["step"] for event in scene.told("step.began")]
        if begun and begun[-1] == "remove":
            looks.append(begun[-1])
            if len(looks) == 1:
                elect(scene, monkeypatch, 20)
        return seen

    monkeypatch.setattr(MemoryRuntime, "instances", look)
    assert scene.deploy("2.0", "canary", manifest={"keep": {"warm": 0}}, **CANARY).outcome == "done"
    assert looks
    assert {i.release for i in scene.world.instances.values()} == {2}


def test_managers_that_elect_none_end_a_start(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    once(scene, lambda what: what.startswith("before ensure"), lambda: elect(scene, monkeypatch, 3600))
    ending = scene.deploy("2.0", "canary", **CANARY)
    assert ending.outcome == "reverted"
    assert "the Swarm has no leader" in ending.text
    assert not scene.live.share

"""A proxy that finds no server up for a moment, as after its own start or that of the engine, is waited for."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.app import operations
from deployer.core.errors import Exit
from deployer.model import Place
from tests.house import Scene
from tests.memory import PaperPulse

COMES_BACK = 3.0


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """Return a service whose first release is live."""
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    scene = Scene(state)
    assert scene.deploy("1.0").exit is Exit.DONE
    return scene


def down(scene: Scene, place: Place, at: str, lasting: float) -> list[float]:
    """Have the servers of a place found down from a driver's call on, for so long; return when that began."""
    clock, began = scene.world.clock, list[float]()
    sleep = clock.sleep

    def begin(what: str) -> None:
        if what.startswith(at) and not began:
            began.append(clock.now())
            scene.world.ill.add(place)

    def later(seconds: float) -> None:
        sleep(seconds)
        if began and clock.now() >= began[0] + lasting:
            scene.world.ill.discard(place)

    scene.world.tick = begin
    clock.sleep = later  # type: ignore[method-assign]
    return began


@pytest.mark.parametrize("at", ["after attach", "before set_traffic"])
def test_it_is_waited_for_within_the_step(scene: Scene, at: str) -> None:
    began = down(scene, "green", at, COMES_BACK)
    assert scene.deploy("2.0", options={"bake": 0}).exit is Exit.DONE
    assert began
    assert scene.live.stable == "green"
    assert scene.world.clock.now() >= began[0] + COMES_BACK


def test_when_the_time_is_over_it_is_said_what_was_seen_last(scene: Scene) -> None:
    down(scene, "green", "before set_traffic", 1e6)
    assert scene.deploy("2.0", options={"bake": 0}).exit is Exit.FAILED
    (failed,) = scene.told("step.failed")
    assert failed["step"] == "promote"
    assert failed["error"] == "no server of green is up, users are not sent there; not within 30 s"
    assert scene.live.stable == "blue"
    assert scene.versions("green") == []


def test_the_way_back_waits_for_stable(scene: Scene) -> None:
    began = down(scene, "blue", "before set_traffic Live(stable='blue', share=10000", 1e6)
    scene.world.worse.add("2.0")
    sleep = scene.world.clock.sleep

    def later(seconds: float) -> None:
        sleep(seconds)
        if scene.kinds()[-1] == "step.began" and scene.told("rollout.rolling_back"):
            scene.world.ill.discard("blue")

    scene.world.clock.sleep = later  # type: ignore[method-assign]
    assert scene.deploy("2.0").exit is Exit.VERDICT
    assert began
    assert (scene.live.stable, scene.live.share) == ("blue", 0)


def test_a_rollback_waits_for_a_warm_release_too(scene: Scene) -> None:
    assert scene.deploy("2.0").exit is Exit.DONE
    began = down(scene, "blue", "before set_traffic", COMES_BACK)
    assert operations.rollback(scene.house, "shop").exit is Exit.DONE
    assert began
    assert scene.live.stable == "blue"

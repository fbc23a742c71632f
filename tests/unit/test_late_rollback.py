"""A rollback that comes late: what users have just been brought back to is not left, unless somebody means it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.core.errors import Exit, Locked
from deployer.server.guard import Caller
from deployer.server.page.dialogs import Dialog, asks
from deployer.server.tokens import Token
from tests.house import Scene
from tests.memory import Crash

CANARY = {"steps": [10], "for": "1s", "bake": "0s"}
COLD = {"keep": {"warm": "0s"}}


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    """Yield a service with two good releases."""
    made = Scene(tmp_path)
    made.deploy("1.0")
    made.deploy("2.0")
    yield made
    made.house.store.database.close()


def on(scene: Scene) -> str:
    (version,) = set(scene.versions(scene.live.stable))
    return version


def taken_back(scene: Scene, version: str = "3.0") -> None:
    scene.world.worse.add(version)
    assert scene.deploy(version, "canary", options=CANARY).outcome == "reverted"


def test_a_candidate_that_was_just_taken_back_is_enough(scene: Scene) -> None:
    taken_back(scene)
    ending = operations.rollback(scene.house, "shop")
    assert (ending.outcome, ending.exit, on(scene)) == ("done", Exit.DONE, "2.0")
    assert "nothing was changed: rollout 3 of r3 was rolled back" in ending.text
    assert "everyone is on r2 (2.0) since" in ending.text
    assert "`deploy rollback --again` rolls this one back, too" in ending.text
    assert ending.text in [data["text"] for data in scene.told("note")]


def test_a_rollback_of_a_colleague_is_enough(scene: Scene) -> None:
    scene.deploy("3.0")
    assert operations.rollback(scene.house, "shop").outcome == "done"
    ending = operations.rollback(scene.house, "shop")
    assert (ending.exit, on(scene)) == (Exit.DONE, "2.0")
    assert "rollout 4 was a rollback" in ending.text


@pytest.mark.parametrize("meant", [{"again": True}, {"to": 1}])
def test_whoever_means_it_says_so(scene: Scene, meant: dict[str, Any]) -> None:
    taken_back(scene)
    operations.rollback(scene.house, "shop", **meant)
    assert on(scene) == "1.0"


def test_it_is_not_late_any_more_after_some_minutes(scene: Scene) -> None:
    taken_back(scene)
    scene.world.clock.sleep(601)
    operations.rollback(scene.house, "shop")
    assert on(scene) == "1.0"


def test_a_rollback_that_failed_is_tried_again(scene: Scene) -> None:
    scene.deploy("3.0", manifest=COLD)
    scene.world.broken.add("2.0")
    assert operations.rollback(scene.house, "shop").outcome == "reverted"
    scene.world.broken.clear()
    assert operations.rollback(scene.house, "shop").rollout
    assert on(scene) == "2.0"


def test_a_rollback_whose_process_died_is_finished_not_taken_back(scene: Scene) -> None:
    scene.deploy("3.0", manifest=COLD)

    def tick(what: str) -> None:
        if what.startswith("after ensure shop-r2"):
            raise Crash(what)

    scene.world.tick = tick
    with pytest.raises(Crash):
        operations.rollback(scene.house, "shop")
    scene.world.tick = lambda _what: None
    ending = operations.rollback(scene.house, "shop")
    assert (ending.rollout, ending.outcome, on(scene)) == (4, "done", "2.0")


def test_one_waits_for_a_rollback_that_is_about_to_begin(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.deploy("3.0")
    held = scene.house.store.locks.take("shop", "rollback of r3 (3.0)")

    def sleep(_seconds: float) -> None:
        monkeypatch.undo()
        scene.house.store.locks.release(held)
        operations.rollback(scene.house, "shop")

    monkeypatch.setattr(scene.world.clock, "sleep", sleep)
    ending = operations.rollback(scene.house, "shop")
    assert "nothing was changed" in ending.text
    assert on(scene) == "2.0"


def test_nobody_waits_for_a_deploy(scene: Scene) -> None:
    held = scene.house.store.locks.take("shop", "canary of 3.0")
    with pytest.raises(Locked):
        operations.rollback(scene.house, "shop")
    scene.house.store.locks.release(held)


# -- what an emergency at the proxy finds


def test_the_proxy_has_no_warm_release_once_a_hook_runs_before_a_rollout(scene: Scene) -> None:
    assert scene.live.warm == 1
    warm: list[int] = []
    scene.world.tick = lambda what: warm.append(scene.live.warm) if what == "play" else None
    scene.world.failing.add("b.yml")
    assert scene.deploy("3.0", manifest={"hooks": {"before": ["b.yml"]}}).outcome == "reverted"
    assert (warm, scene.live.warm, on(scene)) == ([0], 0, "2.0")


def test_the_proxy_has_no_warm_release_after_a_rollback(scene: Scene) -> None:
    operations.rollback(scene.house, "shop")
    operations.rollback(scene.house, "shop", to=2, force=True)
    assert (on(scene), scene.live.warm) == ("2.0", 0)


# -- the page


def test_the_page_says_that_users_were_just_brought_back(scene: Scene) -> None:
    taken_back(scene)
    ask = asks_of(scene)
    assert ask.what.startswith("Mind that rollout 3 of r3 was rolled back")
    scene.world.clock.sleep(601)
    assert "Mind" not in asks_of(scene).what


def asks_of(scene: Scene) -> Dialog:
    (ask,) = asks(scene.house, "shop", Caller(Token("1", "ann", "operator", (), "", 0.0, ""), "test"))
    return ask

"""Adjusting what runs between two rollouts: lost instances, sizes that people want, what was kept warm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations, queries
from deployer.app.due import due
from deployer.app.observe import observe
from deployer.app.operations import adjust
from deployer.app.operations.execution import locked
from deployer.core.errors import Exit, Locked, Refused
from tests.house import REPOSITORY, Scene, request


@pytest.fixture
def scene(state: Path) -> Scene:
    made = Scene(state)
    made.deploy("1.0")
    return made


def names(scene: Scene) -> list[str]:
    return sorted(name for name, i in scene.world.instances.items() if i.state == "running")


def up(scene: Scene) -> list[str]:
    return sorted(scene.world.up("shop", scene.live.stable))


def test_nothing_is_done_where_all_is_as_it_should_be(scene: Scene) -> None:
    before = len(scene.house.store.rollouts.of("shop", adjustments=True))
    assert adjust.keep(scene.house, "shop") is None
    assert len(scene.house.store.rollouts.of("shop", adjustments=True)) == before


@pytest.mark.parametrize("gone", [False, True])
def test_a_lost_instance_is_started_again_and_gets_users(scene: Scene, gone: bool) -> None:
    scene.world.end("shop-r1-2")
    if gone:
        del scene.world.instances["shop-r1-2"]

    ending = adjust.keep(scene.house, "shop")

    assert ending is not None
    assert (ending.outcome, ending.exit) == ("done", Exit.DONE)
    assert "shop-r1-2" in ending.text if not gone else "2 are wanted" in ending.text
    assert up(scene) == ["shop-r1-1", "shop-r1-2"]
    assert scene.house.store.services.get("shop").stable == 1


def test_all_instances_that_are_gone_are_started_again(scene: Scene) -> None:
    scene.world.instances.clear()
    ending = adjust.keep(scene.house, "shop")
    assert ending is not None
    assert ending.text == "r1 (1.0) has no instances, 2 are wanted: done"
    assert up(scene) == ["shop-r1-1", "shop-r1-2"]


def test_one_that_does_not_become_healthy_is_left_for_people_to_look_at(scene: Scene) -> None:
    scene.world.end("shop-r1-2")
    scene.world.ill.add(scene.live.stable)
    ending = adjust.keep(scene.house, "shop")
    assert ending is not None
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert ending.text.startswith("shop-r1-2 of r1 (1.0) does not run or gets no users: not done, ")
    assert scene.house.store.releases.get("shop", 1).status == "good"
    assert scene.house.store.rollouts.in_progress("shop") is None


def test_an_environment_whose_time_is_over_goes(scene: Scene) -> None:
    scene.deploy("2.0")
    until = scene.house.store.services.get("shop").warm_until
    assert adjust.keep(scene.house, "shop") is None, "not before"
    scene.world.clock.sleep(until - scene.world.clock.now() + 1)

    ending = adjust.keep(scene.house, "shop")

    assert ending is not None
    assert ending.text == "the time is over for which r1 was kept warm: done"
    assert names(scene) == ["shop-r2-1", "shop-r2-2"]
    assert scene.house.store.services.get("shop").warm == 0
    assert scene.live.warm == 0, "a rollback in an emergency does not go there"


def test_a_size_that_a_person_wants(scene: Scene) -> None:
    ending = adjust.scale(scene.house, "shop", 4, 0.0, "sale")
    assert (ending.outcome, ending.text) == ("done", "r1 (1.0) has 2 instances, 4 are wanted: done")
    assert up(scene) == [f"shop-r1-{n}" for n in (1, 2, 3, 4)]

    ending = adjust.scale(scene.house, "shop", 1, 0.0, "")
    assert ending.text == "r1 (1.0) has 4 instances, 1 is wanted: done"
    assert up(scene) == names(scene) == ["shop-r1-1"]
    steps = [d["text"] for d in scene.told("step.done")][-3:]
    assert [step.rpartition(", ")[2] for step in steps] == ["3 stay", "2 stay", "1 stays"], "one at a time"

    ending = adjust.scale(scene.house, "shop", 0, 0.0, "")
    assert up(scene) == ["shop-r1-1", "shop-r1-2"], "as the manifest says"
    assert adjust.scale(scene.house, "shop", 2, 0.0, "").text == "r1 (1.0) has 2 instances already"
    assert [r.action for r in scene.house.store.audit_log.newest(40, "shop")].count("scale") >= 4


def test_it_expires(scene: Scene) -> None:
    adjust.scale(scene.house, "shop", 3, 60.0, "sale")
    scene.world.clock.sleep(59)
    assert adjust.keep(scene.house, "shop") is None
    scene.world.clock.sleep(2)
    ending = adjust.keep(scene.house, "shop")
    assert ending is not None
    assert up(scene) == ["shop-r1-1", "shop-r1-2"]


def test_a_deploy_meanwhile_has_that_size_and_the_same_release_is_live_with_it(scene: Scene) -> None:
    adjust.scale(scene.house, "shop", 3, 0.0, "sale")
    assert scene.deploy("1.0").rollout == 0, "nothing to do"
    scene.deploy("2.0")
    assert up(scene) == [f"shop-r2-{n}" for n in (1, 2, 3)]
    assert adjust.keep(scene.house, "shop") is None


def test_a_rollback_to_a_smaller_environment_grows_after_users_have_moved(scene: Scene) -> None:
    scene.deploy("2.0")
    adjust.scale(scene.house, "shop", 3, 0.0, "sale")
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert up(scene) == ["shop-r1-1", "shop-r1-2"], "by one write"
    adjust.regrown(scene.house, "shop")
    assert up(scene) == ["shop-r1-1", "shop-r1-2", "shop-r1-3"]


def test_growth_that_is_not_healthy_is_taken_away_again(scene: Scene) -> None:
    def ends(what: str) -> None:
        if what == "after ensure shop-r1-3":
            scene.world.end("shop-r1-3")

    scene.world.tick = ends
    ending = adjust.scale(scene.house, "shop", 3, 0.0, "sale")
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert ending.text.startswith("r1 (1.0) has 2 instances, 3 are wanted: not done, shop-r1-3 is not healthy")
    assert names(scene) == sorted(scene.world.instances) == ["shop-r1-1", "shop-r1-2"]


def test_one_that_fails_on_both_ways_keeps_nobody_from_a_rollback(scene: Scene) -> None:
    scene.deploy("2.0")
    scene.world.broken.add("2.0")  # nothing is up: what was started is not taken away from users
    ending = adjust.scale(scene.house, "shop", 3, 0.0, "sale")
    assert ending.outcome == "reverted"
    assert scene.house.store.rollouts.in_progress("shop") is None
    assert operations.rollback(scene.house, "shop").outcome == "done"


def test_an_instance_that_the_proxy_has_forgotten_gets_users_again(scene: Scene) -> None:
    del scene.world.servers["shop", scene.live.stable]["shop-r1-2"]
    assert adjust.keep(scene.house, "shop") is not None
    assert up(scene) == ["shop-r1-1", "shop-r1-2"]


def test_sizes_that_are_refused_before_anything_changes(state: Path) -> None:
    scene = Scene(state)
    with pytest.raises(Refused, match="no release of shop is live"):
        adjust.scale(scene.house, "shop", 2, 0.0, "")
    scene.deploy("1.0")
    with pytest.raises(Refused, match="from 1 to 100"):
        adjust.scale(scene.house, "shop", 101, 0.0, "")
    scene.deploy("2.0", "recreate", manifest={"single": True, "replicas": 1, "strategy": {"recreate": {}}})
    with pytest.raises(Refused, match="`single`"):
        adjust.scale(scene.house, "shop", 2, 0.0, "")
    assert scene.house.store.sizes.get("shop") is None


def test_a_release_that_is_single_has_one_instance_whatever_was_wanted_before(scene: Scene) -> None:
    adjust.scale(scene.house, "shop", 3, 0.0, "sale")
    scene.deploy("2.0", "recreate", manifest={"single": True, "replicas": 1, "strategy": {"recreate": {}}})
    assert names(scene) == up(scene) == ["shop-r2-1"]
    assert adjust.keep(scene.house, "shop") is None


def test_a_rollout_that_is_paused_is_left_alone(scene: Scene) -> None:
    hold: dict[str, Any] = {"percent": 10, "hold": True}
    operations.deploy(scene.house, request("2.0", "canary", REPOSITORY, options=hold))
    scene.world.end("shop-r1-2")
    with pytest.raises(Locked, match=r"rollout 2 of shop \(canary\) is in progress"):
        adjust.keep(scene.house, "shop")
    with pytest.raises(Locked, match=r"rollout 2 of shop \(canary\) is in progress"):
        adjust.scale(scene.house, "shop", 3, 0.0, "")
    assert scene.house.store.sizes.get("shop") is None


@pytest.mark.parametrize("act", ["deploy", "rollback", "down"])
def test_whoever_deploys_does_not_wait_for_an_adjustment_that_was_left(scene: Scene, act: str) -> None:
    scene.deploy("2.0")
    scene.world.end("shop-r2-2")
    with locked(scene.house, "shop", "adjusting what runs") as lock:
        release = scene.house.store.releases.get("shop", 2)
        drivers = scene.house.drivers(release)
        plan = due(scene.house, drivers, release, observe(scene.house.store, drivers, "shop"))
        assert plan is not None
        scene.house.store.rollouts.begin(lock, plan, Path.cwd(), "deployer", "")
    match act:
        case "deploy":
            assert scene.deploy("3.0").outcome == "done"
            assert up(scene) == ["shop-r3-1", "shop-r3-2"]
        case "rollback":
            assert operations.rollback(scene.house, "shop").outcome == "done"
            assert up(scene) == ["shop-r1-1", "shop-r1-2"]
        case _:
            operations.down(scene.house, "shop")
            assert not scene.world.instances


def test_a_rollback_after_one_that_failed_is_no_late_rollback(scene: Scene) -> None:
    scene.deploy("2.0")
    scene.world.end("shop-r2-2")
    scene.world.broken.add("2.0")
    ending = adjust.keep(scene.house, "shop")
    assert ending is not None
    assert ending.outcome == "reverted"
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert scene.house.store.services.get("shop").stable == 1


def test_the_history_has_it_and_the_newest_rollout_is_another(scene: Scene) -> None:
    scene.world.end("shop-r1-2")
    adjust.keep(scene.house, "shop")
    assert [row.strategy for row in queries.history(scene.house, "shop").rollouts] == ["keep", "bluegreen"]
    assert queries.newest(scene.house, "shop") == 1
    assert queries.show(scene.house, 2).rollout.outcome == "done"

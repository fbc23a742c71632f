"""Releases that must not run beside another: whatever is asked for, no two stand at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployer.app import doctor, operations, plans
from deployer.app.doctor import services
from deployer.core.errors import Refused
from deployer.model import Live
from deployer.planning import release_record
from deployer.planning.strategy import load
from tests.house import REPOSITORY, Scene, adopt, lose, request
from tests.memory import World


class Alone(World):
    """A world that breaks when two releases stand in it at once, unless the test itself made it so."""

    watched = True

    def touch(self, what: str) -> None:
        releases = {i.release for i in self.instances.values()}
        assert not self.watched or len(releases) < 2, f"{what}: {sorted(self.instances)} stand at once"
        super().touch(what)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, Alone())
    yield made
    made.house.store.database.close()


def standing(scene: Scene) -> set[str]:
    return {scene.world.versions[i.release] for i in scene.world.instances.values()}


def both(scene: Scene) -> None:
    """Let the former release stand beside the live one, as a rollback of an earlier version left it."""
    scene.world.watched = False  # type: ignore[attr-defined]
    for n in (1, 2):
        copy = replace(scene.world.instances[f"shop-r2-{n}"], name=f"shop-r1-{n}", release=1, colour="blue")
        address, identity = f"127.0.0.1:{scene.port(1, n)}", f"memory:{copy.name}"
        scene.world.instances[copy.name] = replace(copy, address=address, runtime_id=identity)


def test_a_rollback_to_a_release_that_is_gone_is_refused_before_the_live_one_is_stopped(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    scene.world.gone.add("1.0")
    before, live = dict(scene.world.instances), scene.live
    with pytest.raises(
        Refused, match=r"r1 \(1\.0\) cannot be started again, nothing was changed: the image .* is gone"
    ):
        operations.rollback(scene.house, "shop")
    assert (scene.world.instances, scene.live) == (before, live)
    assert scene.house.store.rollouts.in_progress("shop") is None
    scene.world.gone.clear()
    assert operations.rollback(scene.house, "shop").outcome == "done"


def test_a_rollback_stops_the_live_release_first(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    ending = operations.rollback(scene.house, "shop")
    assert (ending.outcome, standing(scene)) == ("done", {"1.0"})
    assert (scene.live.warm, scene.house.store.services.get("shop").warm) == (0, 0)
    view = plans.way_back(scene.house, "shop")
    assert view is None, "2.0 was rolled back: there is nothing before 1.0"


def test_a_rollback_that_fails_starts_the_live_release_again(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    scene.world.broken.add("1.0")
    ending = operations.rollback(scene.house, "shop")
    assert (ending.outcome, standing(scene), scene.world.up("shop", scene.live.stable)) == (
        "reverted",
        {"2.0"},
        ["shop-r2-1", "shop-r2-2"],
    )


def test_a_rollback_from_a_release_that_is_ill(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    for name in list(scene.world.instances):
        scene.world.end(name)
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert standing(scene) == {"1.0"}


def test_a_deploy_over_a_release_that_is_ill(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    for name in list(scene.world.instances):
        scene.world.end(name)
    assert scene.deploy("2.0", "recreate").outcome == "done"
    assert standing(scene) == {"2.0"}


@pytest.mark.parametrize("to", [None, 1])
def test_one_of_the_two_is_enough(scene: Scene, to: int | None) -> None:
    """Releases of before were made by a strategy that runs two at once; what came after them was not."""
    scene.world.watched = False  # type: ignore[attr-defined]
    scene.deploy("1.0", "bluegreen")
    scene.deploy("1.1", "bluegreen")
    assert standing(scene) == {"1.0", "1.1"}
    scene.deploy("2.0", "recreate")
    assert standing(scene) == {"2.0"}
    scene.world.watched = True  # type: ignore[attr-defined]
    assert operations.rollback(scene.house, "shop", to=to).outcome == "done"
    assert standing(scene) == {"1.0" if to else "1.1"}
    assert scene.house.store.services.get("shop").warm == 0


@pytest.mark.parametrize("strategy", ["canary", "bluegreen", "rolling"])
def test_no_other_strategy_starts_one_beside_it(scene: Scene, strategy: str) -> None:
    scene.deploy("1.0", "recreate")
    with pytest.raises(Refused, match=r"r1 \(1.0\) must not run beside another release") as refused:
        scene.deploy("2.0", strategy)
    assert "deploy recreate --once" in refused.value.hint
    assert standing(scene) == {"1.0"}
    assert [r.number for r in scene.house.store.releases.of("shop")] == [1]


def test_a_release_that_was_replaced_once_may_have_company(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate", options={"once": True})
    scene.world.watched = False  # type: ignore[attr-defined]
    assert scene.deploy("3.0", "bluegreen").outcome == "done"
    assert (standing(scene), scene.live.warm) == ({"2.0", "3.0"}, 2)


LIAR = '''
"""Promises more than it keeps."""
from pydantic import BaseModel
from deployer.planning.plan import Plan
from deployer.planning.recipes import first_deploy, settle, twin, way_back
class Options(BaseModel):
    @property
    def alone(self): return True
def plan(observed, release, options):
    if observed.stable is None:
        return first_deploy(observed, release, "liar")
    steps = (*twin(observed, release), *settle(observed, release))
    back = way_back(observed, release)
    return Plan.make(release.service, "liar", observed.stable.number, release.number, steps, back)
'''


def test_a_strategy_of_the_user_that_promises_it(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies" / "liar.py").write_text(LIAR)
    try:
        assert load("liar", tmp_path).name == "liar"
        operations.deploy(scene.house, request("1.0", "liar", tmp_path))
        assert scene.house.store.releases.get("shop", 1).alone
        with pytest.raises(Refused, match=r"promises that r2 .* never runs beside another release"):
            operations.deploy(scene.house, request("2.0", "liar", tmp_path))
    finally:
        sys.modules.pop("deployer_strategy_liar", None)


def test_a_store_that_was_lost_knows_it_again(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    both(scene)
    theirs = scene.world.carried["shop-r2-1"]
    record = release_record.write(replace(scene.house.store.releases.get("shop", 2), number=1))
    scene.world.carried |= {f"shop-r1-{n}": replace(theirs, record=record) for n in (1, 2)}
    lose(scene.house)
    scene.house, found = adopt(scene.house.store.folder, scene.world, scene.events)
    assert [r.alone for r in scene.house.store.releases.of("shop")] == [True, True]
    assert (found.services[0].roles, scene.house.store.services.get("shop").warm) == (
        {"green": "stable", "blue": "left over"},
        0,
    )


def test_doctor_takes_away_the_one_that_should_not_be_there(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    both(scene)
    found = [d.text for d in services.service(scene.house, "shop")]
    assert any("runs beside r2 (2.0): one of them must not run beside another release" in text for text in found)
    doctor.fix(scene.house, None)
    assert standing(scene) == {"2.0"}


def test_doctor_starts_nothing_beside_another_release(scene: Scene) -> None:
    """The former one still has users, so it is not taken away; what is missing of the live one is not started."""
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    both(scene)
    scene.world.live["shop"] = Live("green", share=5000, rollout=2)
    del scene.world.instances["shop-r2-1"]
    started: list[set[str]] = []
    scene.world.tick = lambda what: started.append(standing(scene)) if what.startswith("before ensure") else None
    doctor.fix(scene.house, None)
    assert started == []
    doctor.fix(scene.house, None)
    assert started
    assert all(there == {"2.0"} for there in started), "it is started once the other one is gone"


def test_a_host_that_does_not_answer_may_run_it_still(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    scene.world.silent["web02"] = "no route to host"
    with pytest.raises(Refused, match="web02 is unreachable"):
        operations.rollback(scene.house, "shop")
    assert standing(scene) == {"2.0"}


def test_a_rollback_that_an_emergency_made_keeps_none_warm(scene: Scene) -> None:
    """Two that an earlier version let stand at once: who goes back by the proxy takes the other one away."""
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    both(scene)
    servers = scene.world.servers[("shop", "green")]
    scene.world.servers[("shop", "blue")] = {
        f"shop-r1-{n}": replace(servers[f"shop-r2-{n}"], name=f"shop-r1-{n}", address=f"127.0.0.1:{scene.port(1, n)}")
        for n in (1, 2)
    }
    scene.world.live["shop"] = Live("blue", rollout=2)
    assert operations.resume(scene.house, "shop").outcome == "done"
    assert (standing(scene), scene.live.warm) == ({"1.0"}, 0)


def test_the_plan_says_so(scene: Scene) -> None:
    scene.deploy("1.0", "recreate")
    scene.deploy("2.0", "recreate")
    view: Any = plans.way_back(scene.house, "shop")
    assert "users get 503 from the stop of r2 (2.0) on" in view.notes[0]
    assert "remove everything in green; users get 503" in " ".join(view.forward)


def test_the_repository_has_the_strategy() -> None:
    recreate = load("recreate", REPOSITORY)
    assert recreate.parse({}).alone  # type: ignore[attr-defined]
    assert not recreate.parse({"once": True}).alone  # type: ignore[attr-defined]

"""The section `migrate`: what it may say, where its parts stand in plans, and what a rollout does by them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.app import operations, queries
from deployer.app.operations import adjust
from deployer.app.operations import contract as contracted
from deployer.app.status import status_of
from deployer.core.errors import Exit, Locked, ManifestRefused, Refused, StepFailed
from deployer.engine import migration
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.model import LostProxy
from deployer.planning.kinds import from_dict
from deployer.planning.migration_steps import Migrate
from deployer.views.status_parts import MigrationView
from deployer.views.tables import render
from tests.house import Scene, manifest
from tests.memory import Crash

BACKUP = {"run": ["bin/backup"]}
EXPAND = {"run": ["bin/expand"], "within": "5m"}
ASKED = {**EXPAND, "check": ["bin/expanded"]}
INSIDE = {**EXPAND, "in": "instance"}


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        scene.deploy("1.0")
        scene.events.clear()
        yield scene


def deploy(scene: Scene, strategy: str = "bluegreen", **migrate: Any) -> Any:
    return scene.deploy("2.0", strategy, manifest={"migrate": migrate})


def ran(scene: Scene) -> list[str]:
    return [" ".join(words) for _, *words in scene.world.ran]


# -- in the manifest


def test_it_is_recorded_as_it_was_written() -> None:
    described = manifest(
        migrate={"backup": BACKUP, "rehearse": "try.yml", "expand": ["a.yml", ASKED], "contract": [INSIDE]}
    )
    assert Manifest.from_record(described.record()) == described
    assert described.record()["migrate"]["expand"][0] == "a.yml"
    assert described.playbooks == ("try.yml", "a.yml")
    assert described.migrate is not None
    places = [place for place, _ in described.migrate.parts]
    assert places == ["backup", "rehearse", "expand[0]", "expand[1]", "contract[0]"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({}, "it changes nothing"),
        ({"backup": BACKUP}, "it changes nothing"),
        ({"rehearse": BACKUP, "expand": ["a.yml"]}, "there is no `backup` to restore"),
        ({"backup": "backup.yml", "expand": ["a.yml"]}, "a playbook prints no id"),
        ({"expand": ["a.yml"], "approve": {"by": ["ann"]}}, "there is no `contract`"),
        ({"expand": [{"playbook": "a.yml", "in": "instance"}]}, "says itself where it runs"),
    ],
)
def test_what_does_not_go_together_is_refused(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        manifest(migrate=section)


def test_a_runtime_without_instances_of_their_own_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"migrate.expand\[0\].in: runtime ansible"):
        manifest(runtime="ansible", verbs="systemd", migrate={"expand": [INSIDE]})


def test_programs_that_are_not_there_are_refused_before_anything_changes(tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    here, there = "{run: [/bin/true], check: [bin/asks]}", "{run: [bin/x], check: [bin/y], in: instance}"
    file.write_text(f"service: shop\nimage: shop\nport: 80\nmigrate:\n  expand:\n  - {here}\n  - {there}\n")
    with pytest.raises(ManifestRefused) as refused:
        load(file, environ={})
    (only,) = refused.value.problems
    assert (only.where, only.path) == ("deploy.yml:6", "migrate.expand[0].check")
    assert only.message == "bin/asks is not there"


# -- in plans


@pytest.mark.parametrize("strategy", ["bluegreen", "canary", "rolling", "recreate"])
def test_it_is_expanded_before_anything_of_the_release_starts_and_before_users_lose_anything(
    scene: Scene, strategy: str
) -> None:
    deploy(scene, strategy, backup=BACKUP, expand=[EXPAND])
    kinds = [step.kind for step in scene.house.store.rollouts.of("shop")[0].plan.forward]
    at = kinds.index("migrate")
    assert kinds[at : at + 2] == ["migrate", "migrate"]
    assert not {"start", "remove"} & set(kinds[:at])
    assert ran(scene) == ["bin/backup", "bin/expand"]


def test_a_step_is_read_back_as_it_was() -> None:
    step = Migrate(when="expand", release=2, colour="green", run=("x",), check=("y", "z"), within=5.0, deadline=125.0)
    assert from_dict(step.to_dict()) == step
    assert step.explain() == "expand: run `x` on this host, 5 s at most, unless `y z` says that it was applied"


# -- in a rollout


def test_what_a_backup_prints_last_is_in_the_history(scene: Scene) -> None:
    assert deploy(scene, backup=BACKUP, expand=[EXPAND]).outcome == "done"
    assert queries.history(scene.house, "shop").rollouts[0].backup == "fine"
    assert "backup: fine" in [event["text"] for event in scene.told("note")]


def test_one_that_fails_ends_the_rollout_before_any_user_is_moved_and_says_what_to_do(scene: Scene) -> None:
    scene.world.failing = {"bin/expand"}
    moved = list(scene.world.history)
    ending = deploy(scene, backup=BACKUP, expand=[EXPAND])
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "expand: `bin/expand` on this host ended with exit code 3: no" in ending.text
    (failed,) = scene.told("step.failed")
    assert failed["log"] == ["no"]
    assert failed["hint"].startswith("no user was moved; what it did change stays (backup: fine)")
    assert [live.share for live in scene.world.history[len(moved) :] if live.share] == []
    assert scene.versions("green") == []


def test_a_backup_that_fails_or_prints_nothing_leaves_the_database_alone(scene: Scene) -> None:
    scene.world.failing = {"bin/backup"}
    assert deploy(scene, backup=BACKUP, expand=[EXPAND]).exit == Exit.FAILED
    assert ran(scene) == ["bin/backup"]
    assert scene.told("step.failed")[0]["hint"] == "the database was not changed"


def test_a_rehearsal_gets_the_backup_before_anything_is_changed(scene: Scene) -> None:
    rehearse = {"run": ["bin/rehearse"]}
    assert deploy(scene, backup=BACKUP, rehearse=rehearse, expand=[EXPAND]).outcome == "done"
    assert ran(scene) == ["bin/backup", "bin/rehearse", "bin/expand"]
    assert scene.world.given["bin/rehearse"] == {
        "deployer_when": "rehearse",
        "deployer_rollout": "2",
        "deployer_backup": "fine",
    }


def test_a_rehearsal_that_fails_leaves_the_database_alone(scene: Scene) -> None:
    scene.world.failing = {"bin/rehearse"}
    ending = deploy(scene, backup=BACKUP, rehearse={"run": ["bin/rehearse"]}, expand=[EXPAND])
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert ran(scene) == ["bin/backup", "bin/rehearse"]
    assert scene.told("step.failed")[0]["hint"] == "the database was not changed"


def test_a_rehearsal_on_an_instance_of_the_new_release(scene: Scene) -> None:
    jobs = scene.world.jobs
    jobs.prints["_migrate"] = b"saved\ndump-7\n"
    where = {"run": ["bin/rehearse"], "in": "instance"}
    assert deploy(scene, backup={**BACKUP, "in": "instance"}, rehearse=where, expand=[INSIDE]).outcome == "done"
    env = [spec.settings.env.get("DEPLOYER_BACKUP") for spec in jobs.specs.values()]
    assert env == [None, "dump-7", None]


def test_what_was_applied_is_not_run(scene: Scene) -> None:
    assert deploy(scene, expand=[ASKED]).outcome == "done"
    assert ran(scene) == ["bin/expanded"]
    assert "expand: `bin/expanded` says that bin/expand was applied before" in [e["text"] for e in scene.told("note")]


def test_what_its_check_does_not_find_afterwards_has_failed(scene: Scene) -> None:
    scene.world.failing = {"bin/expanded"}
    ending = deploy(scene, expand=[ASKED])
    assert ran(scene) == ["bin/expanded", "bin/expand", "bin/expanded"]
    assert ending.exit == Exit.FAILED
    assert "bin/expand has ended, and `bin/expanded` does not find it applied" in ending.text


def test_a_rollback_to_a_release_does_not_expand_it_again(scene: Scene) -> None:
    scene.deploy("2.0", manifest={"migrate": {"expand": [EXPAND]}, "keep": {"warm": "0s"}})
    scene.deploy("3.0", manifest={"keep": {"warm": "0s"}})
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert scene.versions(scene.live.stable) == ["2.0", "2.0"]
    assert ran(scene) == ["bin/expand"]


def test_a_rollback_says_what_was_expanded_since(scene: Scene) -> None:
    deploy(scene, expand=[EXPAND])
    operations.rollback(scene.house, "shop")
    assert any("(bin/expand with r2)" in event["text"] for event in scene.told("note"))


def test_the_same_version_with_another_migration_is_another_release(scene: Scene) -> None:
    deploy(scene, expand=[EXPAND])
    deploy(scene, expand=[ASKED])
    assert scene.house.store.services.get("shop").stable == 3


# -- in an instance of its own


def test_it_runs_in_an_instance_of_the_new_release_that_is_removed_afterwards(scene: Scene) -> None:
    jobs = scene.world.jobs
    jobs.prints["_migrate"] = b"altering\ndone\n"
    ending = deploy(scene, backup={**BACKUP, "in": "instance"}, expand=[INSIDE])
    assert ending.outcome == "done"
    first, second = jobs.specs.values()
    assert (first.release.number, first.settings.command) == (2, ("bin/backup",))
    assert second.settings.env == {"DEPLOYER_WHEN": "expand", "DEPLOYER_ROLLOUT": "2"}
    assert jobs.runs == {}
    assert queries.history(scene.house, "shop").rollouts[0].backup == "done"


def test_one_that_fails_there_shows_its_output_and_leaves_nothing(scene: Scene) -> None:
    scene.world.jobs.codes["_migrate"] = 7
    scene.world.jobs.prints["_migrate"] = b"no such table\n"
    ending = deploy(scene, expand=[INSIDE])
    assert "`bin/expand` on an instance of r2 (2.0) ended with exit code 7: no such table" in ending.text
    assert scene.world.jobs.runs == {}


def test_one_that_takes_too_long_there_is_ended(scene: Scene) -> None:
    jobs = scene.world.jobs
    jobs.codes.clear()
    jobs.follow = lambda *_: scene.world.clock.sleep(301)  # type: ignore[method-assign]
    ending = deploy(scene, expand=[INSIDE])
    assert ending.exit == Exit.FAILED
    assert "did not end within 5 min" in ending.text
    assert jobs.runs == {}


def killed_while_it_runs(scene: Scene) -> None:
    def die(*_: Any) -> None:
        raise Crash

    scene.world.jobs.codes.clear()
    real, scene.world.jobs.follow = scene.world.jobs.follow, die  # type: ignore[method-assign,assignment]
    with pytest.raises(Crash):
        deploy(scene, expand=[INSIDE])
    scene.world.jobs.follow = real  # type: ignore[method-assign]


def test_one_that_ended_while_nobody_looked_is_not_run_again(scene: Scene) -> None:
    killed_while_it_runs(scene)
    (name,) = scene.world.jobs.runs
    scene.world.jobs.end(name, 0)
    scene.world.jobs.start = None  # type: ignore[method-assign,assignment]
    assert operations.resume(scene.house, "shop").outcome == "done"
    assert scene.world.jobs.runs == {}


def test_one_that_goes_on_is_ended_when_its_rollout_is_aborted(scene: Scene) -> None:
    killed_while_it_runs(scene)
    assert operations.stop(scene.house, "shop").outcome == "reverted"
    assert scene.world.jobs.runs == {}


# -- the contract

CONTRACT = {"run": ["bin/contract"]}
BOTH = {"backup": BACKUP, "expand": [EXPAND], "contract": [CONTRACT]}


def expanded(scene: Scene, **more: Any) -> Scene:
    """Bring out 2.0 with a migration, 1.0 being kept warm for an hour."""
    assert scene.deploy("2.0", manifest={"migrate": {**BOTH, **more}}).outcome == "done"
    scene.world.ran.clear()
    scene.events.clear()
    return scene


def warm_is_over(scene: Scene) -> None:
    clock = scene.world.clock
    clock.sleep(scene.house.store.services.get("shop").warm_until - clock.now() + 1)


def contract(scene: Scene, **more: Any) -> Any:
    return contracted.contract(scene.house, "shop", **more)


def said(scene: Scene) -> tuple[str, str]:
    found = status_of(scene.house, "shop").migration
    assert found is not None
    return found.contract, found.text


def test_a_plan_says_what_is_left_for_later(scene: Scene) -> None:
    expanded(scene)
    notes = scene.house.store.rollouts.of("shop")[0].plan.notes
    assert "`deploy migrate contract` runs bin/contract later, once no release before r2 is there" in notes


def test_it_is_refused_while_the_former_release_is_kept_warm(scene: Scene) -> None:
    expanded(scene)
    assert said(scene)[0] == "waits"
    assert "contract of r2 is due when r1 (blue) is gone, which is kept warm until" in said(scene)[1]
    with pytest.raises(
        Refused, match=r"r1 \(blue\) is kept warm for a rollback until .*: after the contract"
    ) as refused:
        contract(scene)
    assert "deploy migrate contract --drop-warm" in refused.value.hint
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert ran(scene) == []


@pytest.mark.parametrize("drop", [True, False])
def test_it_runs_once_the_former_release_is_gone(scene: Scene, drop: bool) -> None:
    expanded(scene)
    if not drop:
        warm_is_over(scene)
    assert contract(scene, drop=drop).text == "contract of r2 (2.0): done"
    assert ran(scene) == ["bin/backup", "bin/contract"]
    assert scene.versions("blue") == []
    assert (scene.live.stable, scene.live.warm) == ("green", 0)
    assert said(scene) == ("done", "contract of r2 is done")
    assert status_of(scene.house, "shop").next == ""
    assert "nothing to do" in contract(scene).text
    assert ran(scene) == ["bin/backup", "bin/contract"]


def test_it_is_done_however_often_the_size_changes_afterwards(scene: Scene) -> None:
    expanded(scene)
    contract(scene, drop=True)
    for n in range(51):  # one more than what is read of a history at once
        assert adjust.scale(scene.house, "shop", 1 + n % 2, 0.0, "load").outcome == "done"
    found = status_of(scene.house, "shop").migration
    assert found is not None
    assert (found.contract, found.backups) == ("done", ("fine", "fine"))
    assert "nothing to do" in contract(scene).text


def test_after_it_no_release_of_before_comes_back_warm_or_cold_or_forced(scene: Scene) -> None:
    expanded(scene)
    contract(scene, drop=True)
    for wish in ({}, {"to": 1}, {"to": 1, "force": True}, {"again": True}):
        with pytest.raises(Refused, match=r"r1 \(1.0\) cannot come back: the contract of r2 has begun"):
            operations.rollback(scene.house, "shop", **wish)
    scene.deploy("3.0")
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert scene.versions(scene.live.stable) == ["2.0", "2.0"]


def test_a_rollout_in_progress_is_not_left_for_one_of_before(scene: Scene) -> None:
    expanded(scene)
    contract(scene, drop=True)
    held = {"strategy": {"canary": {"hold": True}}}
    assert scene.deploy("3.0", "canary", options={"hold": True}, manifest=held).outcome == "paused"
    with pytest.raises(Refused, match="cannot come back"):
        operations.rollback(scene.house, "shop", to=1)
    assert scene.live.share, "users were moved before it was refused"


def test_one_that_fails_half_way_lets_nothing_of_before_come_back_and_is_run_again(scene: Scene) -> None:
    expanded(scene, contract=[CONTRACT, {"run": ["bin/drop"]}])
    scene.world.failing = {"bin/drop"}
    ending = contract(scene, drop=True)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "contract of r2 (2.0): not done, contract: `bin/drop` on this host ended with exit code 3" in ending.text
    assert said(scene)[0] == "failed"
    with pytest.raises(Refused, match="the contract of r2 has begun"):
        operations.rollback(scene.house, "shop")
    scene.world.failing = set()
    assert contract(scene).outcome == "done"


def test_one_that_was_killed_has_begun_and_no_deploy_or_rollback_takes_it_back(scene: Scene) -> None:
    expanded(scene)

    def die(what: str) -> None:
        if what == "command" and ran(scene) == ["bin/backup"]:
            raise Crash

    scene.world.tick = die
    with pytest.raises(Crash):
        contract(scene, drop=True)
    scene.world.tick = lambda _what: None
    with pytest.raises(Refused, match=r"has begun \(rollout 3\)"):
        operations.rollback(scene.house, "shop")
    with pytest.raises(Locked, match="rollout 3 of shop"):
        scene.deploy("3.0")
    assert operations.resume(scene.house, "shop").outcome == "done"
    assert ran(scene) == ["bin/backup", "bin/contract"]


def test_people_are_asked_first_and_who_waits_for_them_keeps_nobody_from_a_deploy(scene: Scene) -> None:
    expanded(scene, approve={"by": ["ann"], "within": "10s", "expired": "hold"})
    ending = contract(scene, drop=True)
    assert (ending.outcome, ending.exit) == ("paused", Exit.INCONCLUSIVE)
    assert scene.versions("blue") == ["1.0", "1.0"]
    assert said(scene)[0] == "in progress"
    assert operations.rollback(scene.house, "shop").outcome == "done"
    assert ran(scene) == []


def test_it_is_refused_where_a_former_release_may_be_or_there_is_nothing_to_do(scene: Scene) -> None:
    with pytest.raises(Refused, match=r"r1 \(1.0\) has no `migrate.contract`"):
        contract(scene)
    expanded(scene)
    scene.world.lost = {"edge2": LostProxy("edge2", "no response", 1.0, (), 2.0)}
    with pytest.raises(Refused, match="the proxy of edge2 is lost"):
        contract(scene, drop=True)
    scene.world.lost = {}
    scene.world.silent = {"web2": "no response"}
    with pytest.raises(Refused, match="web2 is unreachable: a former release may run there"):
        contract(scene, drop=True)


def test_a_host_that_falls_silent_meanwhile_ends_it_before_anything_is_run(scene: Scene) -> None:
    expanded(scene)

    def fall_silent(what: str) -> None:
        if what == "command":  # of the backup
            scene.world.silent = {"web2": "no response"}

    scene.world.tick = fall_silent
    ending = contract(scene, drop=True)
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "web2 is unreachable: a former release may run there" in ending.text
    assert ran(scene) == ["bin/backup"]
    assert scene.house.store.services.get("shop").contracted == 0
    (failed,) = scene.told("step.failed")
    assert failed["hint"].startswith("wait until the host is reachable")


def test_users_that_an_emergency_took_back_meanwhile_end_it(scene: Scene) -> None:
    expanded(scene)
    step = Migrate(when="contract", release=2, colour="green", run=("x",), within=5.0, deadline=5.0)
    scene.world.live["shop"] = replace(scene.live, stable="blue", warm=0)
    run = SimpleNamespace(traffic=SimpleNamespace(read=lambda: scene.live))
    with pytest.raises(StepFailed, match="does not have all users to itself"):
        migration._refuse_former(run, step)  # type: ignore[arg-type]


def test_the_contract_in_words() -> None:
    view = MigrationView(2, "2.0", "waits", "contract of r2 is due when r1 (blue) is gone", ("b7",), 2)
    assert render(view, 0.0).splitlines() == [
        "r2 (2.0)  contract of r2 is due when r1 (blue) is gone",
        "backup: b7",
        "rollback: to r2 and later ones only, as its contract has begun",
    ]

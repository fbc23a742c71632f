"""Commands as hooks: parsed beside playbooks, planned in their order, run here or in an instance, reported."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployer.app import operations
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, Exit, ManifestRefused, StepFailed
from deployer.drivers.hosts import AnsiblePlaybooks
from deployer.engine.hooks import ENDING_SECONDS
from deployer.manifest.load import load
from deployer.manifest.models import Manifest
from deployer.model import Release
from deployer.planning.rollback import played_since
from tests.house import Scene, manifest
from tests.memory import MemoryPlaybooks

CHECK = {"run": ["bin/check", "--deep"]}
MIGRATE = {"run": ["bin/migrate"], "in": "instance", "within": "5m"}


@pytest.fixture
def scene(state: Path) -> Iterator[Scene]:
    scene = Scene(state)
    with scene.house:
        scene.deploy("1.0")
        scene.events.clear()
        yield scene


def deploy(scene: Scene, **more: Any) -> Any:
    return scene.deploy("2.0", manifest=more)


def texts(scene: Scene, kind: str) -> list[str]:
    return [event["text"] for event in scene.told(kind)]


# -- in the manifest


def test_a_path_alone_is_a_playbook_and_is_recorded_as_it_was_written() -> None:
    described = manifest(update=["migrate.yml", MIGRATE])
    assert [hook.name for hook in described.update] == ["migrate.yml", "bin/migrate"]
    record = described.record()
    assert record["update"][0] == "migrate.yml"
    assert record["update"][1]["in"] == "instance"
    assert Manifest.from_record(record) == described
    assert described.playbooks == ("migrate.yml",)


@pytest.mark.parametrize(
    ("hooks", "said"),
    [
        ({"before": [{}]}, "says nothing"),
        ({"before": [{"run": ["x"], "playbook": "a.yml"}]}, "there is a `playbook` already"),
        ({"after": [{"playbook": "a.yml", "in": "instance"}]}, "says itself where it runs"),
        ({"before": [{"run": ["x"], "in": "instance"}]}, "there may be no new instance at that time"),
    ],
)
def test_what_does_not_go_together_is_refused(hooks: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        manifest(hooks=hooks)


def test_a_program_that_is_not_there_is_refused_before_anything_changes(tmp_path: Path) -> None:
    file = tmp_path / "deploy.yml"
    file.write_text("service: shop\nimage: shop\nport: 80\nhooks:\n  before:\n    - run: [bin/check]\n")
    with pytest.raises(ManifestRefused, match=r"deploy.yml:6: hooks.before\[0\].run: bin/check is not there"):
        load(file, environ={})
    program = tmp_path / "bin" / "check"
    program.parent.mkdir()
    program.touch(0o644)
    with pytest.raises(ManifestRefused, match="bin/check may not be executed"):
        load(file, environ={})
    program.chmod(0o755)
    assert load(file, environ={}).manifest.hooks.before[0].run == ("bin/check",)


# -- in a rollout


def test_commands_and_playbooks_run_in_their_order_and_each_is_reported(scene: Scene) -> None:
    ending = deploy(scene, hooks={"before": [CHECK, "a.yml", "b.yml"]}, update=["c.yml", MIGRATE])
    assert ending.outcome == "done"
    assert scene.world.ran == [("here", "bin/check", "--deep"), ("shop-r2-1", "bin/migrate")]
    steps = [text for text in texts(scene, "step.done") if text.startswith("run ")]
    assert steps == [
        "run `bin/check --deep` (before) on this host, 30 min at most",
        "run a.yml, b.yml (before) on green",
        "run c.yml (update) on green",
        "run `bin/migrate` (update) in an instance of green, 5 min at most",
    ]
    check, migrate = scene.told("task")
    assert (check["playbook"], check["host"], check["status"]) == ("bin/check --deep", "this host", "ok")
    assert migrate["message"] == "exit code 0: fine"
    entry = scene.house.store.journal.entry(ending.rollout, "forward", 0)
    assert entry is not None
    assert (entry.detail["exit"], entry.detail["output"]) == (0, ["fine"])


@pytest.mark.parametrize("when", ["before", "update"])
def test_a_command_that_fails_rolls_back_and_shows_its_output(scene: Scene, when: str) -> None:
    scene.world.failing = {"bin/check --deep"}
    ending = deploy(scene, **({"update": [CHECK]} if when == "update" else {"hooks": {"before": [CHECK]}}))
    assert (ending.outcome, ending.exit) == ("reverted", Exit.FAILED)
    assert "`bin/check --deep` on this host ended with exit code 3: no" in ending.text
    (failed,) = scene.told("step.failed")
    assert failed["log"] == ["no"]
    assert scene.told("task")[0]["status"] == "failed"
    assert scene.versions("green") == []


def test_a_command_of_an_ending_is_reported_and_changes_nothing(scene: Scene) -> None:
    scene.world.failing = {"bin/check --deep"}
    ending = deploy(scene, hooks={"on_done": [{"run": ["bin/say"]}, CHECK]})
    assert ending.outcome == "done"
    assert scene.world.ran == [("here", "bin/say"), ("here", "bin/check", "--deep")]
    assert texts(scene, "note")[-1] == (
        "a hook of the ending failed: `bin/check --deep` on this host ended with exit code 3: no"
    )


def test_a_command_of_an_ending_has_its_own_time_and_never_more_than_the_ending(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, limits = MemoryPlaybooks.command, []

    def command(self: MemoryPlaybooks, *given: Any) -> tuple[int, str]:
        limits.append(given[-1].seconds)
        return real(self, *given)

    monkeypatch.setattr(MemoryPlaybooks, "command", command)
    ending = deploy(scene, hooks={"on_done": [{"run": ["bin/say"], "within": "10s"}, CHECK]})
    assert ending.outcome == "done"
    assert limits == [10.0, ENDING_SECONDS]


def test_what_ran_with_a_release_is_read_from_its_record(scene: Scene) -> None:
    deploy(scene, update=["c.yml", MIGRATE], hooks={"on_done": [CHECK]})
    release = scene.house.store.releases.get("shop", 2)
    assert [hook.name for hook in release.manifest.update] == ["c.yml", "bin/migrate"]
    assert [hook.name for hook in release.manifest.hooks.on_done] == ["bin/check --deep"]
    assert release.manifest.hooks.before == ()
    assert played_since([release], 1, 2) == (
        "playbooks or commands may have run since r1 was live (c.yml, bin/migrate with r2); "
        "they are not undone and may break r1"
    )


def test_what_ran_before_and_after_a_rollout_is_not_undone_either(scene: Scene) -> None:
    hooks = {"before": [{"run": ["bin/prepare"]}], "after": [{"run": ["bin/contract"]}], "on_done": [CHECK]}
    deploy(scene, update=[MIGRATE], hooks=hooks)
    assert operations.rollback(scene.house, "shop").outcome == "done"
    (warning,) = (text for text in texts(scene, "note") if "not undone" in text)
    assert "since r1 was live (bin/prepare, bin/migrate, bin/contract with r2)" in warning


# -- a real one


def playbooks(folder: Path) -> AnsiblePlaybooks:
    return AnsiblePlaybooks(folder, folder, None, SystemClock())


def run(folder: Path, script: str, seconds: float = 20.0) -> tuple[int, str]:
    release = Release("shop", 7, "2.10", "shop:2.10", "sha256:7", manifest(), "hash7")
    deadline = Deadline.after(SystemClock(), seconds)
    return playbooks(folder).command(release, None, ["sh", "-c", script], {"deployer_when": "before"}, deadline)


def test_it_runs_in_the_folder_of_the_manifest_with_the_variables_of_a_playbook(tmp_path: Path) -> None:
    code, output = run(
        tmp_path, "pwd; echo $DEPLOYER_SERVICE $DEPLOYER_RELEASE $DEPLOYER_VERSION $DEPLOYER_WHEN; exit 4"
    )
    assert (code, output) == (4, f"{os.path.realpath(tmp_path)}\nshop 7 2.10 before\n")


def test_output_and_errors_are_one_and_only_the_end_of_much_is_kept(tmp_path: Path) -> None:
    assert run(tmp_path, "echo a; echo b >&2")[1].split() == ["a", "b"]
    code, output = run(tmp_path, "yes | head -c 1000000; echo end")
    assert (code, len(output), output.endswith("end\n")) == (0, 64 * 1024, True)


def test_one_that_takes_too_long_is_ended_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(DeadlinePassed, match=r"`sh` did not end within .* \(limit 0.5 s\)") as error:
        run(tmp_path, "echo begun; sleep 60", seconds=0.5)
    assert error.value.log == ("begun",)


def test_one_that_cannot_be_started_says_so(tmp_path: Path) -> None:
    release = Release("shop", 7, "2.10", "shop:2.10", "sha256:7", manifest(), "hash7")
    with pytest.raises(StepFailed, match="`no-such-program` cannot be started: No such file"):
        playbooks(tmp_path).command(release, None, ["no-such-program"], {}, Deadline.after(SystemClock(), 5))

"""Services without a port: how they are deployed, judged, rolled back and killed in the middle of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from deployer.app import doctor, operations, queries
from deployer.app.reports.gather import gather
from deployer.app.status import status_of
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Exit, Refused
from deployer.drivers.traffic.proxyless import ProxylessTraffic
from deployer.model import Live, other
from deployer.store.rebuild import rebuilding
from deployer.views import tables
from deployer.views.report import render
from deployer.views.report.pipeline import result_of
from tests.house import lose
from tests.memory import Crash, FakeClock, MemoryRuntime, World
from tests.tiers import draws
from tests.worker_house import WorkerScene

METRIC = {"name": "failed jobs", "command": ["count"], "max": 0, "interval": "2s", "failures": 1}
PAST = ("traffic.changed", "sample", "verdict")


@pytest.fixture
def scene(tmp_path: Path) -> WorkerScene:
    return WorkerScene(tmp_path)


def test_a_canary_runs_a_part_of_the_instances_beside_the_stable_ones(scene: WorkerScene) -> None:
    assert scene.deploy("1.0", replicas=4).outcome == "done"
    began = scene.world.clock.at
    seen: list[list[str]] = []
    scene.world.tick = lambda _what: seen.append(scene.running)

    result = scene.deploy("2.0", replicas=4)

    assert (result.outcome, result.text) == ("done", "r2 (2.0) is live")
    assert scene.running == ["2.0"] * 4
    assert max(map(len, seen)) == 8
    assert scene.world.clock.at - began >= 60 + 60 + 30
    assert not [e.kind for e in scene.events if e.kind in PAST]


def test_what_is_told_and_planned_speaks_of_no_users(scene: WorkerScene) -> None:
    scene.deploy("1.0", replicas=2)
    scene.deploy("2.0", replicas=2)
    words = " ".join(str(e.data) for e in scene.events if e.kind != "rollout.started")
    steps = " ".join(" ".join(e.data["steps"]) for e in scene.events if e.kind == "rollout.started")
    for word in ("users", "everyone", "traffic", "share of", "response", "proxy"):
        assert word not in words
        assert word not in steps


def test_nothing_that_is_shown_of_a_rollout_speaks_of_users(scene: WorkerScene) -> None:
    scene.deploy("1.0", replicas=2)
    scene.deploy("2.0", replicas=2, judge={"metrics": [METRIC]})
    scene.world.metrics["failed jobs", "candidate"] = 3.0
    scene.deploy("3.0", replicas=2, judge={"metrics": [METRIC]})
    for number in (1, 2, 3):
        view = queries.show(scene.house, number)
        report = gather(scene.house, view)
        shown = [tables.render(view, 0.0), render(report, "html"), render(report, "md")]
        for text in shown:
            told = text.partition("</style>")[2] or text
            for word in ("users", "everyone", "traffic", ">share<", "responses", "latency", "127.0.0.1", " 0%", ">0%"):
                assert word not in told
    assert result_of(gather(scene.house, queries.show(scene.house, 2)), 0, "").share is None


def test_a_live_value_that_is_lost_is_named_by_status_and_doctor(scene: WorkerScene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    (tmp_path / "live" / "queue").unlink()

    shown = status_of(scene.house, "queue")
    assert shown.problems == (
        f"r1 (blue) is live by the records and is running, but its live value, {tmp_path / 'live' / 'queue'}, is lost:"
        " `deploy doctor --fix` writes it again",
    )
    assert [e.role for e in shown.environments] == [""]
    told = [f.text for f in doctor.examine(scene.house, None).findings if f.what == "queue"]
    assert told == ["nothing says that r1 (blue) is the live release of queue"]


def test_a_rollback_soon_after_another_speaks_of_no_users(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    operations.rollback(scene.house, "queue")
    assert "ago, and r1 (1.0) is live; `deploy rollback --again`" in operations.rollback(scene.house, "queue").text


def test_stopped_instances_are_found_without_a_word_of_users(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    scene.world.end("queue-r1-1")
    told = [f.text for f in doctor.examine(scene.house, None).findings if f.what == "queue"]
    assert told
    assert not [text for text in told if "users" in text or "proxy" in text]


@pytest.mark.parametrize("what", ["ended", "paused"])
def test_an_instance_that_does_not_run_while_it_is_watched_rolls_back(scene: WorkerScene, what: str) -> None:
    scene.deploy("1.0")

    ordinary = scene.world.clock.sleep

    def sleep(seconds: float) -> None:
        ordinary(seconds)
        if any("watched for 10 of" in data["text"] for data in scene.told("step.progress")):
            there = scene.world.instances
            if what == "ended":
                scene.world.end("queue-r2-1")
            elif "queue-r2-1" in there:
                there["queue-r2-1"] = replace(there["queue-r2-1"], state="paused")

    with mock.patch.object(scene.world.clock, "sleep", sleep):
        result = scene.deploy("2.0")

    assert (result.outcome, result.exit) == ("reverted", Exit.FAILED)
    assert {"ended": "queue-r2-1 exited with code 1", "paused": "r2: queue-r2-1: paused"}[what] in result.text
    assert scene.running == ["1.0"]


def test_a_metric_beyond_its_limit_rolls_back(scene: WorkerScene) -> None:
    scene.deploy("1.0", judge={"metrics": [METRIC]})
    scene.world.metrics["failed jobs", "candidate"] = 3.0

    result = scene.deploy("2.0", judge={"metrics": [METRIC]})

    assert (result.outcome, result.exit) == ("reverted", Exit.VERDICT)
    assert "failed jobs" in result.text
    assert scene.running == ["1.0"]


def test_a_metric_that_says_nothing_is_inconclusive(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    scene.world.metrics["failed jobs", "candidate"] = "no connection"

    result = scene.deploy("2.0", judge={"metrics": [METRIC]})

    assert (result.outcome, result.exit) == ("reverted", Exit.INCONCLUSIVE)
    assert scene.running == ["1.0"]


@pytest.mark.parametrize("strategy", ["bluegreen", "rolling", "recreate"])
def test_every_strategy_brings_it_out_and_a_rollback_brings_the_former_one_back(
    scene: WorkerScene, strategy: str
) -> None:
    scene.deploy("1.0", strategy, replicas=3)
    assert scene.deploy("2.0", strategy, replicas=3).outcome == "done"
    assert scene.running == ["2.0"] * 3

    result = operations.rollback(scene.house, "queue")

    assert (result.outcome, scene.running) == ("done", ["1.0"] * 3)


def test_a_rollback_starts_the_former_release_before_it_stops_the_bad_one(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    least: list[int] = []
    scene.world.tick = lambda _what: least.append(len(scene.running))

    operations.rollback(scene.house, "queue")

    assert min(least) == 1


def test_a_single_one_never_runs_twice_and_the_gap_is_told(scene: WorkerScene) -> None:
    scene.deploy("1.0", "recreate", single=True)
    most: list[int] = []

    def tick(what: str) -> None:
        most.append(len(scene.running))
        scene.world.clock.at += 0.5 if "ensure" in what else 0.0

    scene.world.tick = tick

    result = scene.deploy("2.0", "recreate", single=True)

    assert result.text == "r2 (2.0) is live; no instance was running for 1.0 s"
    back = operations.rollback(scene.house, "queue")
    assert "no instance was running for 1.0 s" in back.text
    assert max(most) == 1


def test_a_single_one_is_not_brought_out_beside_another(scene: WorkerScene) -> None:
    scene.deploy("1.0", "recreate", single=True)
    with pytest.raises(Refused, match="is `single` and runs beside no other release"):
        scene.deploy("2.0", "bluegreen", single=True)
    assert scene.running == ["1.0"]


def test_a_port_cannot_come_or_go_in_a_rollout(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    with pytest.raises(Refused, match="having a port cannot change in a rollout"):
        scene.deploy("2.0", port=8080, health={})


def test_a_long_grace_is_told_while_it_is_waited_for(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    texts = [data["text"] for data in scene.told("step.progress")]
    assert "waiting for queue-r1-1 to end, up to 30 min from the signal" in texts


def test_down_leaves_nothing(scene: WorkerScene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    operations.down(scene.house, "queue")
    assert not scene.world.instances
    assert not [*(tmp_path / "live").iterdir()]


def instants(strategy: str, folder: Path, **more: Any) -> int:
    """Count the calls of drivers that change something in a second deploy."""
    scene, count = WorkerScene(folder), 0
    scene.deploy("1.0", strategy, **more)

    def tick(_what: str) -> None:
        nonlocal count
        count += 1

    scene.world.tick = tick
    scene.deploy("2.0", strategy, **more)
    return count


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("canary", {"replicas": 2}),
    ("rolling", {"replicas": 2}),
    ("recreate", {"single": True}),
]


@pytest.mark.parametrize("end", ["resume", "abort"])
@pytest.mark.parametrize(("strategy", "more"), WAYS, ids=[name for name, _ in WAYS])
def test_killed_at_any_call_it_goes_on_or_back(tmp_path: Path, strategy: str, more: dict[str, Any], end: str) -> None:
    replicas = more.get("replicas", 1)
    for n in range(0, instants(strategy, tmp_path / "counted", **more), draws(1, 4)):
        scene = WorkerScene(tmp_path / str(n))
        scene.deploy("1.0", strategy, **more)
        left = n

        def tick(_what: str, scene: WorkerScene = scene) -> None:
            nonlocal left
            running = scene.running
            assert len(running) >= 1 or more.get("single"), "nothing runs"
            assert len(running) <= 1 or not more.get("single"), "it runs twice"
            if left == 0:
                left -= 1
                raise Crash
            left -= 1

        scene.world.tick = tick
        with pytest.raises(Crash):
            scene.deploy("2.0", strategy, **more)
        after = WorkerScene(scene.folder, scene.world)
        if end == "abort" and after.house.store.services.get("queue").stable != 2:
            operations.stop(after.house, "queue", "")
            assert after.running == ["1.0"] * replicas
        else:
            operations.resume(after.house, "queue")
            assert after.running == ["2.0"] * replicas
        live = after.house.drivers(after.house.store.releases.get("queue", 1)).traffic.read("queue")
        assert live is not None
        there = {i.colour for i in scene.world.instances.values()}
        assert there == {live.stable} != {other(live.stable)}


def test_a_lost_state_folder_is_adopted_from_what_runs(scene: WorkerScene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0", replicas=2)
    lose(scene.house)
    shutil.rmtree(tmp_path / "live")
    with rebuilding(tmp_path, scene.world.clock) as made:
        found = WorkerScene(tmp_path, scene.world, made.store)
        operations.adopt(found.house, operations.survey(found.house, why=made.why))
        made.put_in_place()

    after = WorkerScene(tmp_path, scene.world)
    assert after.house.store.services.get("queue").stable == 2
    fixed = [f.fix for f in doctor.fix(after.house, None).findings if f.level == "fixed"]
    assert fixed == ["note r2 (green) as the live release of queue"]
    assert after.deploy("3.0", replicas=2).outcome == "done"
    assert after.running == ["3.0"] * 2


def test_a_paused_canary_goes_on_and_tells_no_share(scene: WorkerScene) -> None:
    scene.deploy("1.0", replicas=2)
    result = scene.deploy("2.0", replicas=2, options={"hold": True})
    assert result.text.startswith("paused at 1 of 2 instances of r2: ")
    assert "share" not in scene.told("rollout.paused")[0]
    assert scene.running == ["1.0", "1.0", "2.0"]
    assert operations.resume(scene.house, "queue").outcome == "done"
    assert scene.running == ["2.0", "2.0"]


def test_a_damaged_live_value_is_written_again(scene: WorkerScene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    (tmp_path / "live" / "queue").write_text("{")

    assert scene.deploy("2.0").outcome == "done"

    assert scene.running == ["2.0"]
    assert any("cannot be read" in text for text in (data["text"] for data in scene.told("note")))


def test_a_lost_live_value_stops_nothing_that_runs(scene: WorkerScene, tmp_path: Path) -> None:
    scene.deploy("1.0")
    scene.deploy("2.0")
    scene.deploy("3.0")
    (tmp_path / "live" / "queue").unlink()

    attempts: list[Callable[[], object]] = [
        lambda: scene.deploy("4.0"),
        lambda: operations.propose(scene.house, scene.request("4.0", "canary", {})),
        lambda: operations.rollback(scene.house, "queue"),
    ]
    lost = re.escape(f"its live value, {tmp_path / 'live' / 'queue'}, is lost")
    for attempt in attempts:
        with pytest.raises(Refused, match=rf"r3 \(blue\) is live by the records .* {lost}") as refused:
            attempt()
        assert refused.value.hint == "`deploy doctor --fix` writes it again, then run this command again"
        assert scene.running == ["3.0"]

    doctor.fix(scene.house, None)
    assert scene.deploy("4.0").outcome == "done"
    assert scene.running == ["4.0"]


def test_nothing_becomes_live_of_which_nothing_runs(tmp_path: Path) -> None:
    traffic = ProxylessTraffic(tmp_path, MemoryRuntime(World()))
    deadline = Deadline.after(FakeClock(), 5)
    with pytest.raises(DriverFailed, match="nothing runs in blue"):
        traffic.set_traffic("queue", Live("blue"), deadline)
    assert traffic.read("queue") is None


def test_instances_are_watched_while_people_are_asked(scene: WorkerScene) -> None:
    scene.deploy("1.0")
    ordinary = scene.world.clock.sleep

    def sleep(seconds: float) -> None:
        ordinary(seconds)
        if scene.told("approval.asked"):
            scene.world.end("queue-r2-1")

    with mock.patch.object(scene.world.clock, "sleep", sleep):
        result = scene.deploy("2.0", approve={"by": ["anna", "ben"]})

    assert (result.outcome, result.exit) == ("reverted", Exit.FAILED)
    assert scene.running == ["1.0"]

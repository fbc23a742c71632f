"""Metrics in a rollout: what they stop, what they do not, and that no source holds a watch up."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from deployer.app import operations
from deployer.app.operations import RolloutResult
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Exit
from deployer.core.secret import SecretText
from deployer.drivers.ports import MetricSide
from deployer.engine import metrics as engine_metrics
from deployer.manifest.models import Metric
from tests.house import Scene
from tests.memory import MemoryMetrics, PaperPulse
from tests.waiting import within

ERRORS = {"name": "errors", "command": ["./errors", "{side}"], "max": 0.05, "interval": "2s"}


@pytest.fixture
def scene(state: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """A house in which a source answers in the instant that it is asked: the clock is one of paper."""
    monkeypatch.setattr(engine_metrics, "in_background", lambda work: work())
    monkeypatch.setattr("deployer.engine.walk.LeaseRenewer", PaperPulse)
    made = Scene(state)
    made.deploy("1.0")
    made.events.clear()
    return made


def canary(scene: Scene, *metrics: dict[str, Any], **judge: Any) -> RolloutResult:
    strategy = {"canary": {"steps": [10, 50], "for": "8s", "bake": "4s"}}
    manifest = {"judge": {"requests": 5, "metrics": list(metrics), **judge}, "strategy": strategy}
    return scene.deploy("2.0", "canary", manifest=manifest)


def test_a_good_metric_lets_it_go_on(scene: Scene) -> None:
    scene.world.metrics[("errors", "candidate")] = 0.01

    assert canary(scene, ERRORS).exit == Exit.DONE
    assert [(m["name"], m["verdict"]) for m in scene.told("metric")][:2] == [("errors", "no worse")] * 2, "once a watch"


def test_a_bad_metric_takes_it_back(scene: Scene) -> None:
    scene.world.metrics[("errors", "candidate")] = 0.2

    ending = canary(scene, ERRORS)

    assert (ending.outcome, ending.exit) == ("reverted", Exit.VERDICT)
    assert "r2 is worse: errors: candidate 0.2, allowed is at most 0.05, 2 readings in a row" in ending.text
    assert [(m["verdict"], m["candidate"], m["limit"]) for m in scene.told("metric")] == [
        ("inconclusive", 0.2, 0.05),
        ("worse", 0.2, 0.05),
    ]
    assert scene.told("verdict")[-1]["verdict"] == "worse"
    assert scene.live.share == 0


def test_against_stable(scene: Scene) -> None:
    scene.world.metrics |= {("errors", "candidate"): 0.2, ("errors", "stable"): 0.15}
    compared = {**ERRORS, "max": None, "margin": "1.5x"}

    assert canary(scene, compared).exit == Exit.DONE
    told = scene.told("metric")[0]
    assert (told["stable"], told["limit"]) == (0.15, pytest.approx(0.225))


@pytest.mark.parametrize(
    ("undecided", "outcome", "code"),
    [
        ("hold", "paused", Exit.INCONCLUSIVE),
        ("revert", "reverted", Exit.INCONCLUSIVE),
        ("proceed", "done", Exit.DONE),
    ],
)
def test_a_source_that_is_down(scene: Scene, undecided: str, outcome: str, code: Exit) -> None:
    scene.world.metrics[("errors", "candidate")] = "http://source: connection refused"

    ending = canary(scene, ERRORS, undecided=undecided)

    assert (ending.outcome, ending.exit) == (outcome, code)
    assert undecided == "proceed" or "errors: http://source: connection refused" in ending.text
    told = scene.told("metric")
    assert (told[0]["verdict"], told[0]["candidate"]) == ("inconclusive", None)
    assert told[0]["text"] == "http://source: connection refused"


def test_a_source_that_is_back_is_asked_again_by_a_resume(scene: Scene) -> None:
    scene.world.metrics[("errors", "candidate")] = "down"
    assert canary(scene, ERRORS, undecided="hold").outcome == "paused"

    scene.world.metrics[("errors", "candidate")] = 0.01

    assert operations.resume(scene.house, "shop").exit == Exit.DONE


def test_a_source_that_goes_and_comes_back_in_a_watch(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    began = scene.world.clock.now()

    def read(_self: MemoryMetrics, *_: object) -> float:
        if 4 < scene.world.clock.now() - began < 30:
            raise DriverFailed("connection refused")
        return 0.01

    monkeypatch.setattr(MemoryMetrics, "read", read)

    assert canary(scene, ERRORS).exit == Exit.DONE
    assert [m["verdict"] for m in scene.told("metric")][:3] == ["no worse", "inconclusive", "no worse"]
    first, second = [e.at for e in scene.events if e.kind == "traffic.changed"][:2]
    assert second - first > 25, "the first step waited for the source beyond its 8 s"


def test_a_step_of_fixed_time_waits_for_a_metric_even_if_it_asks_for_no_requests(scene: Scene) -> None:
    ending = canary(scene, ERRORS, requests=0)

    assert ending.exit == Exit.INCONCLUSIVE
    assert "errors: no data on the candidate" in ending.text


@pytest.mark.parametrize(
    ("changes", "value"),
    [({"dry_run": True}, 0.9), ({"dry_run": True}, "down"), ({"must_have_data": False}, None)],
)
def test_what_decides_nothing(scene: Scene, changes: dict[str, Any], value: float | str | None) -> None:
    if value is not None:
        scene.world.metrics[("errors", "candidate")] = value

    assert canary(scene, {**ERRORS, **changes}).exit == Exit.DONE
    assert scene.told("metric")


def test_the_requests_are_judged_all_the_same(scene: Scene) -> None:
    scene.world.metrics[("errors", "candidate")] = "down"
    scene.world.worse.add("2.0")

    assert canary(scene, ERRORS).exit == Exit.VERDICT


class Stuck(MemoryMetrics):
    """Answers not before it is let go; notes the deadline that it was given."""

    go = threading.Event()
    given: Deadline | None = None

    def read(
        self, metric: Metric, side: MetricSide, secrets: Mapping[str, SecretText], deadline: Deadline
    ) -> float | None:
        type(self).given = deadline
        self.go.wait(60)
        return 0.01


def test_a_source_that_never_answers_holds_nothing_up(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.memory.MemoryMetrics", Stuck)
    scene = Scene(state)
    scene.deploy("1.0")
    patience = within(50)

    ending = canary(scene, ERRORS)

    assert not patience.passed()
    assert ending.exit == Exit.INCONCLUSIVE
    assert "errors: no reading within 11 s" in ending.text
    assert Stuck.given is not None
    assert Stuck.given.passed(), "what is being read is given up with the watch"
    Stuck.go.set()
    within().until(lambda: not [t for t in threading.enumerate() if t.name == "metric"], "its reading ends")


@pytest.mark.parametrize(("interval", "after"), [("2s", 2), ("10m", 4)])  # each step takes 8 s
def test_the_first_reading_comes_after_an_interval_but_within_the_watch(
    scene: Scene, interval: str, after: float
) -> None:
    scene.world.metrics[("errors", "candidate")] = 0.2

    canary(scene, {**ERRORS, "failures": 1, "interval": interval})

    shared = next(e.at for e in scene.events if e.kind == "traffic.changed")
    assert after <= next(e.at for e in scene.events if e.kind == "metric") - shared < after + 1


def test_with_all_users_on_it_a_comparison_is_left_out(scene: Scene) -> None:
    limits: dict[str, Any] = {"name": "compared", "max": None, "margin": "1.5x"}
    scene.world.metrics |= {("errors", "candidate"): 0.01, ("compared", "candidate"): 9.0}
    metrics = [ERRORS, {**ERRORS, **limits}]
    strategy = {"bluegreen": {"bake": "8s"}}

    ending = scene.deploy(
        "2.0", "bluegreen", manifest={"judge": {"requests": 5, "metrics": metrics}, "strategy": strategy}
    )

    assert ending.exit == Exit.DONE
    assert [m["name"] for m in scene.told("metric")] == ["errors"]

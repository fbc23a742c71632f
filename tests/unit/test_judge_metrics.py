"""External metrics: limits, rows of readings, and that nothing is neither good nor bad."""

from __future__ import annotations

from typing import Any

import pytest

from deployer.judge.metrics import MetricJudge, MetricVerdict, Reading, together
from deployer.manifest.models import Metric

COMPARED: dict[str, Any] = {"margin": "1.5x", "max": None}


def judge(*readings: Reading | float | None, alone: bool = False, **more: Any) -> MetricJudge:
    given = {"name": "errors", "command": ["./errors", "{side}"], "max": 0.05, **more}
    made = MetricJudge(Metric.model_validate(given), alone)
    for reading in readings:
        made = made.after(reading if isinstance(reading, Reading) else Reading(reading))
    return made


DOWN = Reading(trouble="http://source: connection refused")


@pytest.mark.parametrize(
    ("readings", "kind", "text"),
    [
        ((), "inconclusive", "no reading yet"),
        ((0.01,), "no worse", "candidate 0.01, allowed is at most 0.05"),
        ((0.05,), "no worse", "allowed is at most 0.05"),
        ((0.06,), "inconclusive", "candidate 0.06, allowed is at most 0.05, 1 of 2 readings in a row"),
        ((0.06, 0.01), "no worse", "candidate 0.01"),
        ((0.06, 0.01, 0.06), "inconclusive", "1 of 2"),
        ((0.06, 0.07), "worse", "candidate 0.07, allowed is at most 0.05, 2 readings in a row"),
        ((0.06, 0.07, 0.01), "worse", "candidate 0.07"),
        ((None,), "inconclusive", "no data on the candidate"),
        ((DOWN,), "inconclusive", "http://source: connection refused"),
        ((DOWN, DOWN, DOWN), "inconclusive", "connection refused"),
        ((0.01, DOWN), "inconclusive", "connection refused"),
        ((0.06, DOWN, 0.06), "worse", "2 readings in a row"),
        ((0.06, None, 0.01), "no worse", ""),
    ],
    ids=str,
)
def test_a_limit(readings: tuple[Reading | float | None, ...], kind: str, text: str) -> None:
    verdict = judge(*readings).verdict

    assert verdict.kind == kind
    assert text in verdict.text
    assert verdict.waits == (kind == "inconclusive")


@pytest.mark.parametrize(("count", "kind"), [(1, "inconclusive"), (2, "inconclusive"), (3, "no worse")])
def test_several_good_readings_may_be_asked_for(count: int, kind: str) -> None:
    verdict = judge(*[0.01] * count, readings=3).verdict

    assert verdict.kind == kind
    assert kind == "no worse" or f"{count} of 3 readings in a row" in verdict.text


def test_a_gap_begins_the_good_row_anew() -> None:
    assert judge(0.01, DOWN, 0.01, readings=2).verdict.kind == "inconclusive"


@pytest.mark.parametrize(
    ("limits", "candidate", "stable", "good", "limit"),
    [
        ({"margin": "1.5x", "max": None}, 0.14, 0.1, True, 0.15),
        ({"margin": "1.5x", "max": None}, 0.16, 0.1, False, 0.15),
        ({"margin": "1.5x", "add": 0.1, "max": None}, 0.19, 0.1, True, 0.2),  # whichever is more
        ({"add": 0.1, "max": None}, 0.21, 0.1, False, 0.2),
        ({"margin": "1.5x"}, 0.06, 1.0, False, 0.05),  # below the margin, but over the limit
        ({"margin": "1.5x", "max": 9}, 0.2, 0.1, False, 0.15),
        ({"margin": "2x", "better": "higher", "max": None}, 60, 100, True, 50),
        ({"margin": "2x", "better": "higher", "max": None}, 40, 100, False, 50),
        ({"add": 10, "better": "higher", "max": None}, 89, 100, False, 90),
        ({"margin": "1.5x", "max": None}, -5, -4, True, -4),  # below zero no margin makes it narrower
        ({"margin": "1.5x", "max": None}, 0, 0, True, 0),
        ({"min": 10, "max": 20}, 9, None, False, 10),
        ({"min": 10, "max": 20}, 15, None, True, 20),
        ({"min": 10, "max": 20}, 21, None, False, 20),
    ],
)
def test_what_the_candidate_is_held_against(
    limits: dict[str, Any], candidate: float, stable: float | None, good: bool, limit: float
) -> None:
    verdict = judge(Reading(candidate, stable), failures=1, **limits).verdict

    assert verdict.kind == ("no worse" if good else "worse")
    assert verdict.limit == pytest.approx(limit)
    assert (verdict.candidate, verdict.stable) == (candidate, stable)


def test_a_comparison_needs_both_sides() -> None:
    verdict = judge(Reading(0.01, None), **COMPARED).verdict

    assert verdict.kind == "inconclusive"
    assert verdict.text == "no data on stable"


def test_beyond_its_own_limit_it_needs_no_stable() -> None:
    assert judge(Reading(0.2, None), margin="2x", failures=1).verdict.kind == "worse"


def test_alone_only_its_own_limit_holds() -> None:
    assert judge(Reading(0.01, None), margin="2x", alone=True).verdict.kind == "no worse"


def test_data_need_not_be_there_if_the_manifest_says_so() -> None:
    metric = {"must_have_data": False}

    assert not judge(None, **metric).verdict.waits
    assert not judge(Reading(0.1, None), **metric, **COMPARED).verdict.waits
    assert judge(DOWN, **metric).verdict.waits, "a source that is down is not an empty one"
    assert judge(**metric).verdict.waits, "nothing was asked yet"
    assert judge(0.06, **metric).verdict.waits, "bad data is data"


def test_a_dry_run_has_a_verdict_and_decides_nothing() -> None:
    verdict = judge(0.06, 0.06, dry_run=True).verdict

    assert (verdict.kind, verdict.dry_run) == ("worse", True)
    assert together([verdict]) == ("no worse", "")
    assert not judge(DOWN, dry_run=True).verdict.waits


def test_all_together() -> None:
    good, bad, down = judge(0.01).verdict, judge(0.1, 0.1).verdict, judge(DOWN).verdict
    empty = judge(None, must_have_data=False).verdict

    def kind(*verdicts: MetricVerdict) -> str:
        return together(verdicts)[0]

    assert kind() == "no worse"
    assert kind(good, good, empty) == "no worse"
    assert kind(good, down) == "inconclusive"
    assert kind(down, bad, good) == "worse"
    assert together([good, bad])[1] == f"errors: {bad.text}"
    assert together([down, judge().verdict])[1] == f"errors: {down.text}; errors: {judge().verdict.text}"

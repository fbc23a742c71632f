"""Stable beside itself: worse after a step of ours, and failing for minutes."""

from __future__ import annotations

import pytest

from deployer.judge.stable import StableHealth
from deployer.manifest.judge import Judge
from deployer.model import Counts


def seen(health: StableHealth, requests: int, errors: int, *, seconds: range) -> StableHealth:
    for at in seconds:
        health.add(Counts(requests, errors), float(at))
    return health


def test_a_step_that_breaks_stable_is_named() -> None:
    health = seen(StableHealth(Judge()), 100, 0, seconds=range(10))
    health.begin("step 3 (migrate.yml)")
    assert seen(health, 15, 1, seconds=range(10, 12)).worse == ""
    assert seen(health, 15, 1, seconds=range(12, 60)).worse == (
        "stable became worse after step 3 (migrate.yml): since 6.67% errors (50 of 750), before 0% errors (0 of 1,000)"
    )


@pytest.mark.parametrize(("before", "after"), [(0, 0), (1, 1), (2, 4), (5, 9)])
def test_what_stable_did_before_is_no_reason_to_stop(before: int, after: int) -> None:
    health = seen(StableHealth(Judge()), 100, before, seconds=range(60))
    health.begin("step 3 (migrate.yml)")
    assert seen(health, 100, after, seconds=range(60, 300)).worse == ""


def test_nothing_of_ours_no_blame() -> None:
    health = seen(StableHealth(Judge()), 100, 0, seconds=range(60))
    assert seen(health, 100, 50, seconds=range(60, 120)).worse == ""


def test_little_is_known_of_before() -> None:
    health = StableHealth(Judge())
    health.begin("step 1 (expand.yml)")
    assert seen(health, 10, 0, seconds=range(50)).worse == ""
    assert "before: not known" in seen(health, 10, 2, seconds=range(50, 90)).worse


def test_stable_that_fails_for_minutes_is_said() -> None:
    health = seen(StableHealth(Judge()), 100, 7, seconds=range(50))
    assert health.trouble(50.0) == "", "for seconds only"
    assert "stable 7% errors (420 of 6,000) for a minute" in seen(health, 100, 7, seconds=range(50, 60)).trouble(60.0)
    assert seen(StableHealth(Judge()), 100, 4, seconds=range(120)).trouble(120.0) == ""

"""The number of instances follows a load of every shape, beside an oracle that knows what comes."""

from __future__ import annotations

import math

import pytest

from deployer.manifest.scale import ScaleSettings
from tests.load_model import CONCURRENCY, Outcome, Rate, outcome

HOUR = 3600.0
SETTINGS = ScaleSettings(min=1, max=40, concurrency=CONCURRENCY)


def step(at: float) -> float:
    return 240 if 600 <= at < 2400 else 8


def sine(at: float) -> float:
    return 100 + 90 * math.sin(at / 900 * 2 * math.pi)


def spikes(at: float) -> float:
    return 12 + (200 if at % 700 < 20 else 0)


def around(mean: float, by: float, period: float) -> Rate:
    return lambda at: mean + by * math.sin(at / period * 2 * math.pi)


def simulated(rate: Rate, most: float, seconds: float = HOUR, settings: ScaleSettings = SETTINGS) -> Outcome:
    seen = outcome(rate, most, seconds, settings, seed=1)
    print(seen.text())
    return seen


@pytest.mark.long("half a million requests one by one")
@pytest.mark.parametrize(("rate", "most"), [(step, 240.0), (sine, 190.0)], ids=["step", "sine"])
def test_it_costs_little_more_than_an_oracle(rate: Rate, most: float) -> None:
    seen = simulated(rate, most)
    assert seen.ratio <= 1.35, seen.text()
    assert seen.waited <= 0.01, seen.text()
    assert seen.policy.reaction <= 1.0, seen.text()


@pytest.mark.long("an hour of requests one by one")
@pytest.mark.parametrize(
    "rate",
    [around(23.6, 2.8, 60), around(23.6, 6, 60), around(15, 2.8, 60), around(15, 2.8, 300)],
    ids=["at a limit", "across it", "at the margin", "slowly"],
)
def test_a_load_around_a_threshold_changes_little(rate: Rate) -> None:
    seen = simulated(rate, 30.0)
    assert seen.policy.changes <= 2, seen.text()
    assert seen.waited <= 0.01, seen.text()


def test_a_step_is_met_at_once_and_left_slowly() -> None:
    seen = simulated(lambda at: 60 if 60 <= at < 180 else 6, 60, 360)
    assert seen.policy.reaction <= 1.0, seen.text()
    assert seen.policy.changes <= 14, "up in a few steps, and down one by one: " + seen.text()
    assert seen.ratio <= 2, "the minute before the first one goes weighs much here: " + seen.text()


@pytest.mark.long("an hour of requests one by one")
def test_spikes_shorter_than_a_few_starts_want_instances_in_reserve() -> None:
    alone = simulated(spikes, 212)
    reserve = simulated(spikes, 212, settings=SETTINGS.model_copy(update={"min": 12}))
    assert alone.waited > 0.01, "no rule that reacts can help there"
    assert reserve.waited <= 0.01, reserve.text()

"""A Monday after several weeks with the same mornings: with and without the prediction, beside the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache

import pytest

from deployer.evidence.scaling_replay import Usual
from deployer.manifest.scale import ScaleSettings
from deployer.model.load import SLOT_SECONDS
from deployer.planning.prediction import WEEKS, UsualLoad, usual_load
from tests.load_model import CONCURRENCY, TAKES, Outcome, Rate, outcome

BEGINS = datetime(2026, 11, 30, 8, 40, tzinfo=UTC).timestamp()  # a Monday
NINE = 1200.0  # seconds later
HOUR, WEEK = 3600.0, 7 * 86_400.0
LEAD = 90.0
MOST = 240.0  # requests a second
SETTINGS = ScaleSettings(min=1, max=40, concurrency=CONCURRENCY)


def at_once(at: float) -> float:
    return MOST if at >= NINE else 8


def within_ten_minutes(at: float) -> float:
    return 8 + (MOST - 8) * min(1.0, max(0.0, at - NINE) / 600)


def quiet(_at: float) -> float:
    return 8


def former(usual: Rate, *, odd: Callable[[float], float] | None = None) -> Usual:
    """Return what is known from weeks that differ by 15 % in level and two minutes in time; one may be `odd`."""
    chance = random.Random(7)
    weeks: list[Rate] = []
    for _ in range(WEEKS):
        level, late = chance.uniform(0.85, 1.15), chance.uniform(-120, 120)
        weeks.append(lambda at, level=level, late=late: level * usual(at - late))  # type: ignore[misc]
    if odd is not None:
        weeks[1] = odd

    def seen(at: float) -> float:
        week = round((BEGINS - at) / WEEK)
        begins = at - (BEGINS - week * WEEK)
        rate = weeks[week - 1]
        return sum(rate(begins + second) * TAKES for second in range(int(SLOT_SECONDS))) / SLOT_SECONDS

    @cache
    def of_slot(begins: float) -> UsualLoad | None:
        return usual_load(begins, LEAD, "UTC", seen)

    return lambda at: of_slot((BEGINS + at) // SLOT_SECONDS * SLOT_SECONDS)


def both(rate: Rate, usual: Usual) -> tuple[Outcome, Outcome]:
    """Return what came of the same hour without and with the prediction."""
    reacting = outcome(rate, MOST, HOUR, SETTINGS, seed=1)
    predicting = outcome(rate, MOST, HOUR, SETTINGS, seed=1, usual=usual)
    print(f"without: {reacting.text()}\nwith: {predicting.text()}")
    return reacting, predicting


@pytest.mark.long("an hour of requests one by one, twice")
@pytest.mark.parametrize("odd", [None, lambda at: 10 * at_once(at), lambda _at: 0.0], ids=["", "sale", "outage"])
def test_nobody_waits_for_what_comes_every_week(odd: Rate | None) -> None:
    reacting, predicting = both(at_once, former(at_once, odd=odd))
    assert predicting.policy.waited <= reacting.policy.waited / 4, predicting.text()
    assert predicting.waited <= 0.001, predicting.text()
    assert predicting.ratio <= reacting.ratio + 0.25, "five minutes before it comes, of forty"


@pytest.mark.long("an hour of requests one by one, twice")
def test_a_rise_that_is_slow_enough_needs_no_prediction_and_gains_a_little() -> None:
    reacting, predicting = both(within_ten_minutes, former(within_ten_minutes))
    assert predicting.policy.waited <= reacting.policy.waited
    assert predicting.ratio <= reacting.ratio + 0.25


@pytest.mark.long("an hour of requests one by one, twice")
def test_a_holiday_costs_what_is_usual_and_nobody_waits() -> None:
    reacting, predicting = both(quiet, former(at_once))
    assert predicting.policy.waited <= reacting.policy.waited
    usual_hour = outcome(at_once, MOST, HOUR, SETTINGS, seed=1, usual=former(at_once))
    assert predicting.policy.instance_seconds <= usual_hour.policy.instance_seconds
    assert predicting.policy.changes <= 12, "at most one in five minutes: " + predicting.text()

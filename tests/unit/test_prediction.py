"""What is usual at this hour of the week: what former weeks say, and what a size makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.core.errors import Refused
from deployer.manifest.scale import ScaleSettings
from deployer.model.load import SLOT_SECONDS
from deployer.planning.prediction import LEAST_WEEKS, WEEKS, UsualLoad, predicted, usual_load
from deployer.planning.scaling import WantedSize

WEEK = 7 * 86_400.0
NINE = datetime(2026, 11, 30, 9, tzinfo=UTC).timestamp()  # a Monday
SHOP = ScaleSettings(min=1, max=8, concurrency=12)


def usual_at(now: float, weeks: Mapping[float, float | None], *, lead: float = 90, timezone: str = "UTC") -> UsualLoad:
    """Return what is usual, where it is known what was from some moments on."""
    found = usual_load(now, lead, timezone, weeks.get)
    assert found is not None
    return found


def mondays(*requests: float | None, at: float = NINE) -> dict[float, float | None]:
    """Return what the last Mondays had, the newest first."""
    return {at - (week + 1) * WEEK: each for week, each in enumerate(requests)}


def test_what_is_usual_is_known_five_minutes_before() -> None:
    weeks = mondays(28, 30, 27, 29)
    assert usual_load(NINE - SLOT_SECONDS - 1, 90, "UTC", weeks.get) is None
    found = usual_at(NINE - SLOT_SECONDS, weeks)
    assert (found.requests, found.at) == (28, NINE)
    assert found.text == "28 requests at once on Mondays at 09:00 UTC"
    assert usual_at(NINE + SLOT_SECONDS - 1, weeks) == found
    assert usual_load(NINE + SLOT_SECONDS, 90, "UTC", weeks.get) is None


def test_one_that_starts_slowly_is_started_earlier() -> None:
    weeks = mondays(28, 30)
    assert usual_at(NINE - 2 * SLOT_SECONDS, weeks, lead=400).requests == 28
    assert usual_load(NINE - 2 * SLOT_SECONDS, 300, "UTC", weeks.get) is None


def test_the_highest_of_what_comes_counts_and_the_first_of_equal_ones() -> None:
    weeks = mondays(5, 5) | mondays(28, 28, at=NINE + SLOT_SECONDS) | mondays(28, 28, at=NINE + 2 * SLOT_SECONDS)
    assert usual_at(NINE, weeks, lead=900).at == NINE + SLOT_SECONDS


@pytest.mark.parametrize(
    ("weeks", "usual"),
    [
        ((28, 28, 28, 400), 28),  # a Black Friday
        ((0, 28, 28, 28), 28),  # an outage
        ((28, None, None, 400), 28),
        ((400, 28, None, None), 28),
        ((None, 20, 25, 30), 25),
        ((20, 24, 28, 32), 24),
    ],
)
def test_no_single_week_rules(weeks: tuple[float | None, ...], usual: float) -> None:
    assert usual_at(NINE, mondays(*weeks)).requests == usual


def test_once_is_not_usual_and_what_was_not_watched_is_not_zero() -> None:
    assert usual_load(NINE, 90, "UTC", mondays(28, None, None, None).get) is None
    assert usual_load(NINE, 90, "UTC", mondays(None, None, None, None, 28, 28, 28).get) is None, "too long ago"
    assert usual_at(NINE, mondays(28, None, None, 28)).requests == 28


@pytest.mark.parametrize(("day", "hour"), [((2026, 10, 26), 8), ((2026, 3, 30), 7)], ids=["autumn", "spring"])
def test_the_clock_on_the_wall_counts(day: tuple[int, int, int], hour: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    now = datetime(*day, 9, tzinfo=berlin)
    assert now.astimezone(UTC).hour == hour, "another one than a week before"
    weeks = {now.replace(day=now.day - 7 * n).timestamp(): 28.0 for n in (1, 2, 3)}
    found = usual_at(now.timestamp(), weeks, timezone="Europe/Berlin")
    assert found.text == "28 requests at once on Mondays at 09:00 Europe/Berlin"
    assert usual_load(now.timestamp(), 90, "UTC", weeks.get) is None


def test_a_timezone_that_is_gone_is_said() -> None:
    with pytest.raises(Refused, match="this host has no such timezone"):
        usual_load(NINE, 90, "Europe/Atlantis", mondays(1, 1).get)


# -- the size


def usual(requests: float) -> UsualLoad:
    return UsualLoad(requests, NINE, "UTC")


def test_instances_are_there_for_what_is_usual() -> None:
    found = predicted(WantedSize(1, "1.0 requests at once"), usual(28), SHOP)
    assert found == WantedSize(4, "usual are 28 requests at once on Mondays at 09:00 UTC")
    load = WantedSize(5, "50 requests at once")
    assert predicted(load, usual(28), SHOP) == load, "the load needs more"
    assert predicted(load, usual(900), SHOP).instances == 8
    assert predicted(load, None, SHOP) == load


def test_what_is_usual_is_kept_and_what_is_more_is_removed() -> None:
    down = WantedSize(3, "at most 2.0 requests at once for 60 s")
    assert predicted(down, usual(28), SHOP).instances == 4, "28 and 3 roots: 44"
    assert predicted(down, usual(20), SHOP) == down
    fewest = WantedSize(1, "at most 2.0 requests at once for 60 s")
    assert predicted(fewest, usual(0), SHOP) == fewest


several = st.lists(st.one_of(st.none(), st.floats(0, 5000)), min_size=0, max_size=WEEKS)


@given(several, st.integers(0, 40), st.integers(0, 8), st.integers(0, 30), st.integers(1, 500))
def test_whatever_was(weeks: list[float | None], needed: int, least: int, more: int, concurrency: int) -> None:
    scale = ScaleSettings(min=least, max=max(1, least + more), concurrency=concurrency)
    load = WantedSize(scale.within(needed), "the load")
    known = [each for each in weeks if each is not None]
    found = usual_load(NINE, 90, "UTC", mondays(*weeks).get)
    assert (found is None) == (len(known) < LEAST_WEEKS)
    wanted = predicted(load, found, scale)
    assert load.instances <= wanted.instances <= scale.max, "it only adds"
    if wanted != load:
        assert found is not None
        assert wanted.instances == found.instances(scale)
        assert max(known) > 0


@settings(max_examples=50)
@given(st.lists(st.floats(0, 500), min_size=1, max_size=WEEKS - 1), st.floats(0, 1e6), st.integers(0, WEEKS - 1))
def test_a_week_unlike_the_others_adds_nothing_that_they_did_not_have(
    usual_ones: list[float], odd: float, place: int
) -> None:
    weeks = [*usual_ones[:place], odd, *usual_ones[place:]]
    assert usual_at(NINE, mondays(*weeks)).requests <= max(usual_ones)
    if len(usual_ones) > 1:
        assert usual_at(NINE, mondays(*weeks)).requests >= min(usual_ones)

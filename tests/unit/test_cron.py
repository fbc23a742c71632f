"""When a cron expression is due, and which due time of a job is dealt with: pure."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.app.jobs.times import Due, Schedule, due
from deployer.core import cron
from deployer.core.errors import Refused

BERLIN = "Europe/Berlin"


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def times(expression: str, zone: str, after: float, count: int) -> list[str]:
    found = []
    for _ in range(count):
        after = cron.next_time(expression, zone, after)
        found.append(datetime.fromtimestamp(after, ZoneInfo(zone)).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    "expression", ["10 3 * * *", "*/5 0-6 * JAN MON-FRI", "0 0 29 2 *", "0 12 L * *", "0 9 * * 1#2", "@daily"]
)
def test_a_cron_expression_is_taken(expression: str) -> None:
    assert cron.mistake(expression) == ""


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("* * *", "it has 3 fields, not 5"),
        ("*/5 * * * * *", "it has 6 fields, not 5"),
        ("61 * * * *", "wrong minute"),
        ("0 24 * * *", "wrong hour"),
        ("0 0 30 2 *", "wrong day-of-month"),
        ("0 0 * * FUN", "wrong day-of-week"),
        ("@reboot", "@reboot is none of @hourly, @daily, @weekly, @monthly, @yearly"),
    ],
)
def test_anything_else_is_refused_with_the_field_that_is_wrong(expression: str, why: str) -> None:
    assert cron.mistake(expression) == why


def test_a_timezone_is_one_of_this_host() -> None:
    assert [cron.unknown_timezone(name) for name in ("UTC", BERLIN)] == ["", ""]
    assert all(cron.unknown_timezone(name) for name in ("Mars/Base", "", "Europe", "../../etc/passwd"))


def test_a_timezone_that_this_host_lost_is_named() -> None:
    with pytest.raises(Refused, match="Mars/Base: this host has no such timezone"):
        cron.next_time("0 3 * * *", "Mars/Base", 0.0)


def test_a_time_that_spring_skips_is_due_at_the_end_of_the_gap() -> None:
    assert times("30 2 * * *", BERLIN, at("2026-03-28T12:00"), 2) == [
        "2026-03-29T03:00+02:00",
        "2026-03-30T02:30+02:00",
    ]
    assert times("*/30 * * * *", BERLIN, at("2026-03-29T01:10", BERLIN), 3) == [
        "2026-03-29T01:30+01:00",
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:30+02:00",
    ]


def test_a_time_that_autumn_has_twice_is_due_once_but_every_half_hour_is_every_half_hour() -> None:
    assert times("30 2 * * *", BERLIN, at("2026-10-24T12:00"), 2) == [
        "2026-10-25T02:30+02:00",
        "2026-10-26T02:30+01:00",
    ]
    in_the_second_half = at("2026-10-25T02:10", BERLIN, fold=1)
    assert times("30 2 * * *", BERLIN, in_the_second_half, 1) == ["2026-10-26T02:30+01:00"]
    assert times("*/30 * * * *", BERLIN, at("2026-10-25T01:50", BERLIN), 5) == [
        "2026-10-25T02:00+02:00",
        "2026-10-25T02:30+02:00",
        "2026-10-25T02:00+01:00",
        "2026-10-25T02:30+01:00",
        "2026-10-25T03:00+01:00",
    ]


def test_leap_days_come_every_four_years() -> None:
    assert times("0 6 29 2 *", "UTC", at("2026-01-01T00:00"), 2) == ["2028-02-29T06:00+00:00", "2032-02-29T06:00+00:00"]


@given(start=st.floats(at("2020-01-01T00:00"), at("2030-01-01T00:00")), minute=st.integers(0, 59))
def test_the_next_time_is_always_later(start: float, minute: int) -> None:
    expression = f"{minute} 1-3 * * *"
    found = [start]
    for _ in range(3):
        found.append(cron.next_time(expression, BERLIN, found[-1]))
    assert all(one < other for one, other in pairwise(found))


# -- what is to be dealt with

HOURLY = Schedule("0 * * * *", "UTC", late=3600.0)
NOON = at("2026-06-01T12:00")


def test_nothing_is_due_before_its_time_and_it_is_due_at_its_second() -> None:
    assert due(HOURLY, NOON - 1800, NOON - 0.1) is None
    assert due(HOURLY, NOON - 1800, NOON) == Due(NOON, NOON)


def test_what_was_dealt_with_is_not_due_again() -> None:
    assert due(HOURLY, NOON, NOON + 3599) is None


def test_of_several_times_that_nothing_ran_the_last_one_is_run_once() -> None:
    found = due(HOURLY, NOON - 5 * 3600, NOON + 60)
    assert found == Due(NOON, NOON)
    assert due(HOURLY, NOON, NOON + 61) is None


def test_a_time_that_is_over_for_longer_than_late_is_left_out_from_the_first_one_on() -> None:
    daily = Schedule("0 12 * * *", "UTC", late=3600.0)
    assert due(daily, NOON - 86_400, NOON + 3600) == Due(NOON, NOON + 3600, missed=True)
    assert due(daily, NOON - 3 * 86_400, NOON + 7200) == Due(NOON - 2 * 86_400, NOON + 7200, missed=True)


def test_a_clock_that_was_set_back_a_little_repeats_nothing() -> None:
    assert due(HOURLY, NOON, NOON - 3 * 3600) is None
    assert due(HOURLY, NOON, NOON - 600) is None


def test_another_schedule_has_another_key() -> None:
    assert len({HOURLY.key, Schedule("0 * * * *", BERLIN, 3600.0).key, Schedule("1 * * * *", "UTC", 3600.0).key}) == 3
    assert HOURLY.key == Schedule("0 * * * *", "UTC", 60.0).key, "how late it may be does not change its times"


def test_utc_needs_no_timezones_of_the_system() -> None:
    assert cron.next_time("0 0 * * *", "UTC", 0.0) == 86_400.0
    assert datetime.fromtimestamp(86_400.0, UTC).hour == 0

"""Freeze windows: by hand, at the changes of the clock, and for any window at any time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployer.manifest.freeze import DAYS, frozen_until, local_time, local_zone, parse

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


def at(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("window", "now", "until"),
    [
        ("Fri 16:00-Mon 08:00", "2026-11-20T15:59:59", None),
        ("Fri 16:00-Mon 08:00", "2026-11-20T16:00", "2026-11-23T08:00"),
        ("Fri 16:00-Mon 08:00", "2026-11-22T23:59:59.999", "2026-11-23T08:00"),
        ("Fri 16:00-Mon 08:00", "2026-11-23T08:00", None),
        ("Mon 08:00-Fri 16:00", "2026-11-21T12:00", None),
        ("Wed 12:00-Wed 11:00", "2026-11-23T12:00", "2026-11-25T11:00"),
        ("22:00-06:00", "2026-11-23T21:59", None),
        ("22:00-06:00", "2026-11-23T22:00", "2026-11-24T06:00"),
        ("22:00-06:00", "2026-11-24T05:59", "2026-11-24T06:00"),
        ("12:00-13:00", "2026-11-24T12:30:30", "2026-11-24T13:00"),
        # spring: 02:00 to 03:00 does not exist; autumn: it comes twice
        ("01:00-02:30", "2026-03-29T01:30", "2026-03-29T03:00"),
        ("22:00-06:00", "2026-03-28T23:00", "2026-03-29T06:00"),
        ("22:00-06:00", "2026-10-24T23:00", "2026-10-25T06:00"),
    ],
)
def test_a_window(window: str, now: str, until: str | None) -> None:
    assert frozen_until([window], at(now)) == (at(until) if until else None)


def test_an_hour_that_comes_twice_is_frozen_twice() -> None:
    assert frozen_until(["02:15-02:45"], at("2026-10-25T02:30")) == at("2026-10-25T02:45")
    second = frozen_until(["02:15-02:45"], at("2026-10-25T02:30", fold=1))

    assert second is not None
    assert second.astimezone(UTC) == at("2026-10-25T02:45", fold=1).astimezone(UTC)


def test_windows_that_touch_are_one() -> None:
    windows = ["Fri 16:00-Sat 00:00", "Sat 00:00-Mon 00:00", "00:00-08:00"]

    assert frozen_until(windows, at("2026-11-20T17:00")) == at("2026-11-23T08:00")


def test_windows_without_a_gap_end_in_eight_days() -> None:
    until = frozen_until(["00:00-12:00", "12:00-00:00"], at("2026-11-20T17:00"))

    assert until == at("2026-11-28T17:00")


def test_no_window_never_freezes() -> None:
    assert frozen_until([], at("2026-11-20T17:00")) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="without a time zone"):
        frozen_until(["22:00-06:00"], datetime(2026, 1, 1))


TIMES = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
WEEKLY = st.builds("{} {}-{} {}".format, st.sampled_from(DAYS), TIMES, st.sampled_from(DAYS), TIMES)
DAILY = st.builds("{}-{}".format, TIMES, TIMES)
WINDOWS = (WEEKLY | DAILY).filter(lambda text: len(set(text.split("-"))) == 2)
MOMENTS = st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"])


def stands_in(window: str, local: datetime) -> bool:
    """Read the window as a person would: walk back over the wall clock to its last beginning or end."""
    begin, _, end = window.partition("-")
    moment = local.replace(second=0, microsecond=0, tzinfo=None)
    for _ in range(8 * 24 * 60):
        names = {f"{moment:%H:%M}", f"{DAYS[moment.weekday()]} {moment:%H:%M}"}
        if end in names:
            return False
        if begin in names:
            return True
        moment -= MINUTE
    raise AssertionError(window)


@settings(deadline=None, max_examples=30)
@given(WINDOWS, MOMENTS, ZONES)
def test_it_is_frozen_when_the_wall_clock_stands_in_the_window(window: str, moment: datetime, zone: str) -> None:
    local = moment.astimezone(ZoneInfo(zone))

    assert (frozen_until([window], local) is not None) == stands_in(window, local)


@settings(deadline=None, max_examples=30)
@given(st.lists(WINDOWS, min_size=1, max_size=3), MOMENTS, ZONES)
def test_the_end_is_the_first_free_minute(windows: list[str], moment: datetime, zone: str) -> None:
    local = moment.astimezone(ZoneInfo(zone))
    until = frozen_until(windows, local)
    if until is None:
        return

    left = until.astimezone(UTC) - moment
    assert timedelta(0) < left <= timedelta(days=8)
    assert until.second == 0
    before = (until.astimezone(UTC) - MINUTE).astimezone(local.tzinfo)
    assert frozen_until(windows, before) is not None
    if left < timedelta(days=7, hours=23):  # more is the answer for windows without a gap
        assert frozen_until(windows, before) == until
        assert frozen_until(windows, until) is None


@pytest.mark.parametrize("text", ["", "Fri", "Fri 16:00", "Fr 16:00-Mo 08:00", "24:00-06:00", "22:60-06:00", "a-b"])
def test_what_is_no_window(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_the_zone_of_the_machine() -> None:
    with as_file(files("tzdata") / "zoneinfo" / "Europe" / "Berlin") as berlin:
        for zone in (local_zone({}, berlin), local_zone({"TZ": f":{berlin}"}), local_zone({"TZ": "Europe/Berlin"})):
            assert datetime(2026, 7, 1, tzinfo=zone).utcoffset() == timedelta(hours=2)
            assert datetime(2026, 1, 1, tzinfo=zone).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("name", ["No/Such_Place", "../x", "CET-1CEST", "/no/such/file"])
def test_a_zone_that_nobody_knows_is_what_the_c_library_makes_of_it(name: str) -> None:
    now = datetime.now().astimezone()

    assert now.astimezone(local_zone({"TZ": name})).utcoffset() == now.utcoffset()


def test_local_time_is_aware() -> None:
    assert local_time(0.0).astimezone(UTC) == datetime(1970, 1, 1, tzinfo=UTC)

"""Axes: round numbers, everything shown, pauses left out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.views.report.scale import Linear, Logarithmic, Times, rounded

NUMBERS = st.floats(1e-6, 1e9)


@pytest.mark.parametrize(("value", "told"), [(0.7, 1), (1.1, 2), (2.2, 2.5), (3, 5), (6, 10), (0.013, 0.02), (0, 1)])
def test_round_numbers(value: float, told: float) -> None:
    assert rounded(value) == pytest.approx(told)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_a_linear_axis_shows_every_value_and_has_few_ticks(values: list[float]) -> None:
    scale = Linear.over(values, 1e-6)

    assert scale.top >= max(values)
    assert 3 <= len(scale.ticks()) <= 9
    assert all(0 <= scale.place(v) <= 1 for v in values)


@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_a_logarithmic_axis_shows_every_value_and_has_some_ticks(values: list[float]) -> None:
    scale = Logarithmic.over(values)

    assert 1 <= len(scale.ticks()) <= 7
    assert all(scale.low <= t <= scale.high for t in scale.ticks())
    assert all(0 < scale.place(v) < 1 for v in values)


def test_a_long_rest_is_a_narrow_gap() -> None:
    times = Times.over([*range(60), *range(10_000, 10_060)])

    assert len(times.stretches) == 2
    assert times.place(59) == pytest.approx(0.48)
    assert times.place(5_000) == times.place(10_000) == pytest.approx(0.52)
    assert times.place(10_059) == pytest.approx(1.0)


def test_a_short_axis_has_tenths_of_a_second() -> None:
    short, long = Times.over([100.0, 100.4, 101.3]), Times.over([100.0, 160.0])

    assert [short.write(at) for at in short.ticks(4)] == ["0.0 s", "0.5 s", "1.0 s"]
    assert [long.write(at) for at in long.ticks(4)] == ["0:00", "0:15", "0:30", "0:45", "1:00"]


def test_a_short_pause_is_no_rest() -> None:
    assert len(Times.over([*range(60), *range(65, 120)]).stretches) == 1


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).map(sorted))
def test_time_goes_from_left_to_right(moments: list[float]) -> None:
    times = Times.over(moments)
    places = [times.place(at) for at in moments]

    assert places == sorted(places)
    assert all(0 <= place <= 1 + 1e-9 for place in places)
    assert len(times.ticks(10)) <= 10 + 2 * len(times.stretches)

"""Expressions for HTTP statuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.drivers.checks.statuses import Statuses

STATUS = st.integers(100, 599)


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("200", [200], [199, 201]),
        ("200-399", [200, 302, 399], [199, 400]),
        ("200,301-399", [200, 301, 399], [201, 300, 400]),
    ],
)
def test_a_status_is_in_the_ranges_or_not(text: str, inside: list[int], outside: list[int]) -> None:
    statuses = Statuses.parse(text)

    assert all(status in statuses for status in inside)
    assert not any(status in statuses for status in outside)
    assert str(statuses) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("399-200", "the range 399-200 is reversed; write 200-399"),
        ("200,204-201", "the range 204-201 is reversed"),
        ("600", "600 is outside 100-599"),
        ("099", "099 is outside 100-599"),
        ("ok", "'ok' is not a status"),
        ("200,", "'' is not a status"),
    ],
)
def test_nonsense_is_refused_and_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Statuses.parse(text)


@given(st.lists(st.tuples(STATUS, STATUS).map(sorted), min_size=1, max_size=5), STATUS)
def test_writing_and_reading_back_keeps_the_set(ranges: list[list[int]], status: int) -> None:
    statuses = Statuses(tuple((low, high) for low, high in ranges))

    assert Statuses.parse(str(statuses)) == statuses
    assert (status in statuses) == any(low <= status <= high for low, high in ranges)

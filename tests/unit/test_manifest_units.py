"""Durations, sizes, percentages, ratios and shares, as people write them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.manifest.models import ErrorLimits
from deployer.manifest.text import Misspelt
from deployer.manifest.units import basis_points, percent, ratio, seconds, size, write_seconds, write_size


@pytest.mark.parametrize(
    ("read", "written", "value"),
    [
        (seconds, "30s", 30.0),
        (seconds, "1h30m", 5400.0),
        (seconds, "1h 30m", 5400.0),
        (seconds, "500ms", 0.5),
        (seconds, "1.5m", 90.0),
        (seconds, "1y", 31_536_000.0),
        (seconds, 2, 2.0),
        (size, "512m", 512 * 1024**2),
        (size, "2GiB", 2 * 1024**3),
        (size, "1.5k", 1536),
        (size, "100 b", 100),
        (size, 100, 100),
        (percent, "0.1%", 0.001),
        (percent, 20, 0.2),
        (ratio, "1.5x", 1.5),
        (ratio, 2, 2.0),
        (basis_points, "0.01%", 1),
        (basis_points, 33.33, 3333),
        (basis_points, "100", 10000),
    ],
)
def test_what_is_written_is_read(read: Callable[[Any], float], written: Any, value: float) -> None:
    assert read(written) == pytest.approx(value)


@pytest.mark.parametrize("read", [seconds, size, percent, ratio, basis_points])
@pytest.mark.parametrize("written", ["", "soon", "1 parsec", "--1", "1e3s", "٣s", "1_000", "nan", True, None, [1], {}])
def test_what_is_none_is_refused_with_an_example(read: Callable[[Any], float], written: Any) -> None:
    with pytest.raises(Misspelt, match=r"must be .*e\.g\. "):
        read(written)


@pytest.mark.parametrize("written", ["0.001", "33.333", "101", "-1", 100.01])
def test_a_share_out_of_range_or_too_fine(written: Any) -> None:
    with pytest.raises(ValueError, match=r"percent|0\.01%"):
        basis_points(written)


@given(st.integers(0, 10**10).map(lambda ms: ms / 1000))
def test_a_duration_survives_being_written(value: float) -> None:
    assert seconds(write_seconds(value)) == pytest.approx(value, rel=1e-9)


@given(st.integers(1, 10**15 - 1))
def test_a_size_survives_being_written(value: int) -> None:
    assert size(write_size(value)) == value


@given(st.floats(0, 100) | st.sampled_from([1e-12, 1e-13, 5e-324, 33.333333333333, 99.999999999999]))
def test_a_percentage_survives_being_recorded(value: float) -> None:
    limits = ErrorLimits.model_validate({"add": value})

    again = ErrorLimits.model_validate(limits.model_dump(mode="json"))

    assert again == limits

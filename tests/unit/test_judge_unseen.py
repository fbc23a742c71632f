"""The highest failure rate that few responses do not rule out, against sums over the binomial distribution."""

from __future__ import annotations

import math

import pytest

from deployer.judge import words
from deployer.judge.unseen import Unseen, at_most, highest_rate


def summed(failed: int, of: int, rate: float) -> float:
    return math.fsum(math.comb(of, k) * rate**k * (1 - rate) ** (of - k) for k in range(failed + 1))


@pytest.mark.parametrize(("failed", "of"), [(1, 40), (3, 40), (39, 40), (2, 400), (30, 1000), (500, 1000)])
def test_it_is_the_exact_limit(failed: int, of: int) -> None:
    assert summed(failed, of, highest_rate(failed, of)) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.5, 0.9])
def test_the_distribution_is_the_binomial_one(rate: float) -> None:
    assert at_most(1, 60, rate) == pytest.approx(summed(1, 60, rate), rel=1e-9)


def test_without_a_failure_it_is_about_three_in_n() -> None:
    assert highest_rate(0, 40) == pytest.approx(0.0722, abs=1e-4)
    assert highest_rate(0, 3000) == pytest.approx(3 / 3000, rel=0.01)


def test_what_always_failed_rules_nothing_out() -> None:
    assert highest_rate(7, 7) == highest_rate(0, 0) == 1.0


def test_many_responses_take_no_longer() -> None:
    assert highest_rate(50_000, 10_000_000) == pytest.approx(0.005 + 1.645 * math.sqrt(0.005 / 10_000_000), rel=1e-3)


def test_it_is_said_of_responses_or_of_clients() -> None:
    assert words.unseen(Unseen(0, 40, clients=False)) == (
        "0 of 40 responses failed: a rate of up to 7.2% would not have been seen"
    )
    assert words.unseen(Unseen(1, 40, clients=True)).startswith("1 of 40 clients saw a failure: a rate of up to 11%")

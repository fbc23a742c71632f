"""What to plan a step with, and bands for pictures."""

from __future__ import annotations

import math

import pytest

from deployer.judge.bands import wilson
from deployer.judge.bets import information
from deployer.judge.plan import answers_needed
from deployer.manifest.models import Judge
from deployer.model import FULL
from tests.documents import REPOSITORY


@pytest.mark.parametrize(("rate", "answers"), [(0.0001, 8157), (0.001, 26_478), (0.01, 14_533), (0.05, 2792)])
def test_answers_that_a_last_step_needs(rate: float, answers: int) -> None:
    assert answers_needed(Judge(), 5000, FULL, rate) == pytest.approx(answers, abs=1)


def test_the_page_says_how_many_answers_a_verdict_takes_at_best() -> None:
    page = (REPOSITORY / "docs/judge.md").read_text()

    for share in (100, 500, 1000, 2500, 5000):
        answers = math.ceil(math.log(1 / Judge().alpha) / information(share / FULL, 0.01, 0.05))
        assert f"| {share / 100:g}% | {answers:,} | {answers * share / FULL:.0f} |" in page
    for rate in (0.0001, 0.001, 0.01, 0.05):
        assert f"| {100 * rate:g}% | {answers_needed(Judge(), 5000, FULL, rate):,} |" in page


def test_a_smaller_following_share_or_a_wider_margin_needs_fewer() -> None:
    wide = Judge.model_validate({"errors": {"add": "1%"}})

    assert answers_needed(Judge(), 500, 2500, 0.001) < answers_needed(Judge(), 500, FULL, 0.001)
    assert answers_needed(wide, 5000, FULL, 0.001) < answers_needed(Judge(), 5000, FULL, 0.001) / 5


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_rates_at_the_ends_can_be_planned_with(rate: float) -> None:
    assert answers_needed(Judge(), 1, FULL, rate) > 0


@pytest.mark.parametrize("share", [0, FULL])
def test_where_nothing_is_compared_the_least_number_of_requests_holds(share: int) -> None:
    assert answers_needed(Judge(requests=20), share, FULL, 0.01) == 20


def test_bands_hold_the_rate_and_narrow() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(0, 100)[0] == 0.0
    assert wilson(100, 100)[1] == pytest.approx(1.0)
    assert wilson(10, 100) == pytest.approx((0.0552, 0.1744), abs=1e-4)  # Wilson 1927, to four digits
    low, high = wilson(1000, 10_000)
    assert low < 0.1 < high
    assert high - low < 0.2 * math.sqrt(0.1)

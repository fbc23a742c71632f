"""How often verdicts are wrong, and how soon right, by few answers a look and by many: small worlds, often drawn."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable

import pytest

from deployer.judge import Verdicts
from deployer.model import FULL, Sample
from tests.looks import coin, errors_only, judge, runs_until_shown, runs_until_worse, sample, timed
from tests.tiers import draws


def every_request(n: int) -> int:
    return 1


def bigger_and_bigger(n: int) -> int:
    return 1 + n // 4


def by_fifty(n: int) -> int:
    return 50


@pytest.mark.parametrize(
    ("sizes", "looks"), [(every_request, 300), (bigger_and_bigger, 100), (by_fifty, 40)], ids=lambda v: str(v)[:20]
)
@pytest.mark.parametrize(("share", "rate", "sticky"), [(1000, 0.02, False), (5000, 0.05, True), (500, 0.02, True)])
def test_false_alarms_are_no_more_than_alpha(
    sizes: Callable[[int], int], looks: int, share: int, rate: float, sticky: bool
) -> None:
    alpha, runs = 0.1, draws(100, 40)
    random_ = random.Random(f"{share} {rate} {sticky} {looks}")
    alarms = 0

    for _ in range(runs):
        verdicts = Verdicts(errors_only(alpha=alpha, errors={"max": "100%"}), sticky=sticky)
        verdicts.observe(sample((5000, int(5000 * rate)), (0, 0), share=0), 0)
        alarms += runs_until_worse(verdicts, lambda n: coin(random_, sizes(n), share, rate, rate), looks) is not None

    # 3 standard deviations above the bound: it fails by chance in 1 of 700 seeds, and the seeds are fixed.
    assert alarms / runs <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


def test_false_alarms_of_errors_and_times_together_are_no_more_than_alpha() -> None:
    alpha, runs, random_ = 0.2, draws(40, 20), random.Random(8)
    alarms = 0
    for _ in range(runs):
        verdicts = Verdicts(judge(alpha=alpha, latency={"warmup": {"requests": 0}}), sticky=False)
        alarms += runs_until_worse(verdicts, lambda n: timed(random_, 50, 3000, 40, 40), 60) is not None

    assert alarms / runs <= alpha


def test_a_candidate_at_the_margin_is_seldom_shown_to_be_no_worse() -> None:
    beta, runs, random_ = 0.2, draws(60, 30), random.Random(9)
    shown = 0
    for _ in range(runs):
        verdicts = Verdicts(errors_only(beta=beta, alpha=0.0001), sticky=False)
        verdicts.begin(5000, FULL)
        shown += runs_until_shown(verdicts, lambda n: coin(random_, 50, 5000, 0.05, 0.075), 100) is not None

    assert shown / runs <= beta


def test_many_looks_at_a_shared_daily_cycle_and_a_growing_share_raise_no_alarm() -> None:
    random_ = random.Random(11)
    shares = [100, 500, 2500, 5000]

    def draw(n: int) -> Sample:
        rate = 0.01 * (1 + 3 * n / 400)  # everybody's rate quadruples while the share grows
        return coin(random_, 25, shares[n // 100], rate, rate)

    for sticky in (True, False):
        for _ in range(draws(10, 4)):
            assert runs_until_worse(Verdicts(judge(), sticky=sticky), draw, 400) is None


@pytest.mark.parametrize("share", [500, 1000, 5000])
@pytest.mark.parametrize("sticky", [True, False])
def test_an_outage_of_both_sides_is_no_fault_of_the_candidate(share: int, sticky: bool) -> None:
    random_ = random.Random(share)

    def draw(n: int) -> Sample:
        rate = 0.6 if 100 <= n < 200 else 0.001
        return coin(random_, 25, share, rate, rate)

    for _ in range(draws(10, 4)):
        assert runs_until_worse(Verdicts(judge(), sticky=sticky), draw, 400) is None


def test_a_release_exactly_at_the_limit_is_seldom_called_worse() -> None:
    random_ = random.Random(21)
    alpha, runs, alarms = 0.1, draws(150, 60), 0

    for _ in range(runs):
        verdicts = Verdicts(judge(alpha=alpha), sticky=True)
        found = runs_until_worse(verdicts, lambda n: coin(random_, 5, FULL, 0.0, 0.1), 200)
        alarms += found is not None

    assert alarms / runs <= alpha + 3 * (alpha * (1 - alpha) / runs) ** 0.5


@pytest.mark.parametrize(
    ("share", "rate", "sticky", "median", "most"),
    [
        (500, 1.0, False, 2, 4),
        (500, 1.0, True, 3, 6),
        (1000, 1.0, True, 3, 6),
        (5000, 1.0, False, 6, 8),
        (5000, 1.0, True, 9, 12),
        (1000, 0.2, False, 20, 80),
        (1000, 0.2, True, 20, 80),
        (5000, 0.2, True, 60, 150),
    ],
)
def test_a_bad_candidate_is_found_within_few_of_its_requests(
    share: int, rate: float, sticky: bool, median: int, most: int
) -> None:
    random_ = random.Random(share)
    served: list[int] = []

    for _ in range(draws(60, 30)):
        verdicts = Verdicts(errors_only(), sticky=sticky)
        verdicts.observe(sample((5000, 5), (0, 0), share=0), 0)
        found = runs_until_worse(verdicts, lambda n: coin(random_, 1, share, 0.001, rate), 20_000, 0.01)
        assert found is not None
        served.append(found[0])

    assert statistics.median(served) <= median
    assert max(served) <= most

"""Each bet by itself: known values, and that it does not gain while what it is against is true."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.judge.bets import Bet, information, nearest_beyond, on_errors, on_every_answer, times_odds
from deployer.judge.errors import ODDS, WEIGHTS, ErrorAbort, MarginPromote
from deployer.judge.histogram import Histogram, bucket, coarsened
from deployer.judge.latency import LatencyAbort
from deployer.judge.margin import Margin
from deployer.judge.quantile import QuantilePromote
from deployer.judge.rate import Rate
from deployer.judge.ratio import RatioSequence
from deployer.judge.wealth import RESTART, Wealth, reserve
from deployer.model import FULL
from tests.unit.judge_streams import before

MARGIN, TIMES = Margin(1.5, 0.001), Margin(1.25, 5.0)
RATES = st.floats(1e-5, 0.5)
COINS = st.sampled_from([0.0001, 0.01, 0.05, 0.1, 0.5, 0.9, 0.9999])
FOLLOWING = st.sampled_from([100, 500, 2500, 5000, FULL])


def mean(bet: Bet, p: float, stable: float, candidate: float) -> float:
    """Return what a bet multiplies the wealth by, on average, where the sides are bad at these rates."""
    of_stable = (1 - stable) * math.exp(bet.stable_ok) + stable * math.exp(bet.stable_bad)
    of_candidate = (1 - candidate) * math.exp(bet.candidate_ok) + candidate * math.exp(bet.candidate_bad)
    return (1 - p) * of_stable + p * of_candidate


def stable_times() -> Histogram:
    times = Histogram()
    for at, count in coarsened(before().latency).items():
        times.add(at, count)
    return times


# -- known values


def test_closed_forms() -> None:
    assert information(0.05, 0.01, 0.05) == pytest.approx(0.001874674, abs=1e-9)
    assert information(0.5, 0.001, 1.0) == pytest.approx(0.689193053, abs=1e-9)
    assert nearest_beyond(0.1, 0.01, 0.01, MARGIN) == pytest.approx((0.009521839, 0.014282759), abs=1e-9)
    assert nearest_beyond(0.5, 0.001, 0.001, MARGIN) == pytest.approx((0.000706930, 0.001706930), abs=1e-9)
    restarts = [math.log(reserve(k - 1) - reserve(k)) for k in (1, 2, 60)]
    assert restarts == pytest.approx([-4.929519, -5.000995, -6.962865], abs=1e-6)
    assert [bucket(ms) for ms in (0.4, 1, 2, 50, 160, 65000, 1e9)] == [0, 1, 17, 91, 118, 256, 271]


def test_bets_on_errors() -> None:
    first, *_, last = ErrorAbort(MARGIN, sticky=False).bets(0.05, 0.01)
    only = ErrorAbort(MARGIN, sticky=True).bets(0.05, 0.01)[0]
    proof = MarginPromote(MARGIN).bets(0.1, 0.01)[0]

    assert first == pytest.approx((0.000252557, -0.024692613, -0.004810745, 0.380772496), abs=1e-9)
    assert last == pytest.approx((0.051258407, -1.782839609, -7.267681733, 2.821674126), abs=1e-9)
    assert only == pytest.approx((0.0, -0.024692613, 0.0, 0.380772496), abs=1e-9)
    assert proof == pytest.approx((-0.000482874, 0.048997039, 0.004335404, -0.356468069), abs=1e-9)


def test_bets_on_times() -> None:
    abort = LatencyAbort(TIMES)
    abort.refresh(stable_times())

    first = abort.bets(0.1)[0]

    stable = (0.037229, 0.018238, -0.008742, -0.038315, -0.058871, -0.065889, -0.071579, -0.071579, -0.071579)
    candidate = (-0.417604, -0.181101, 0.075419, 0.291407, 0.415116, 0.453548, 0.483470, 0.483470, 0.483470)
    assert first.stable == pytest.approx(stable, abs=1e-6)
    assert first.candidate == pytest.approx(candidate, abs=1e-6)


# -- fairness


@given(COINS, RATES, st.floats(0, 1), st.floats(0, 1))
def test_no_bet_gains_while_the_candidate_fails_no_more_often(
    p: float, rate: float, stable: float, better: float
) -> None:
    for bet in ErrorAbort(MARGIN, sticky=False).bets(p, rate):
        assert mean(bet, p, stable, stable * better) <= 1 + 1e-9


@given(COINS, RATES, st.sampled_from(ODDS), st.floats(0, 1))
def test_bets_on_errors_alone_do_not_gain_while_the_candidate_has_no_more_than_its_part(
    p: float, rate: float, factor: float, less: float
) -> None:
    bet = on_errors(p, rate, times_odds(MARGIN.of(rate), factor))
    part = p * less  # of the errors that are the candidate's

    assert (1 - part) * math.exp(bet.stable_bad) + part * math.exp(bet.candidate_bad) <= 1 + 1e-9
    assert bet.stable_ok == bet.candidate_ok == 0


@given(COINS, RATES, FOLLOWING, st.floats(-5, 0), st.floats(0, 1))
def test_no_proof_gains_while_the_candidate_is_at_the_margin_or_beyond(
    p: float, rate: float, following: int, magnitude: float, beyond: float
) -> None:
    proof = MarginPromote(MARGIN.before(following))
    stable = 10**magnitude
    least = proof.margin.of(stable)
    if least >= 1:
        return  # no candidate can be so bad

    for bet in proof.bets(p, rate):
        assert mean(bet, p, stable, least + (1 - least) * beyond) <= 1 + 1e-9


def test_fairness_over_a_grid() -> None:
    worst_abort = worst_proof = 0.0
    grid = [10 ** (-5 + 5 * i / 41) for i in range(41)]
    for p in (0.01, 0.1, 0.5):
        for rate in (0.0005, 0.01, 0.2):
            abort = ErrorAbort(MARGIN, sticky=False).bets(p, rate)
            worst_abort = max(
                [worst_abort] + [mean(b, p, s, s * k / 10) for b in abort for s in grid for k in range(11)]
            )
            for margin in (MARGIN, Margin(3.0, 0.004)):
                proof = MarginPromote(margin).bets(p, rate)
                pairs = [(s, margin.of(s)) for s in grid if margin.of(s) < 1]
                means = [mean(b, p, s, y + (1 - y) * k / 10) for b in proof for s, y in pairs for k in range(11)]
                worst_proof = max([worst_proof, *means])

    assert worst_abort == pytest.approx(1, abs=1e-9)
    assert worst_proof == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.99])
def test_bets_on_times_are_fair_in_every_bin_and_rise(p: float) -> None:
    abort = LatencyAbort(TIMES)
    abort.refresh(stable_times())

    for bet in abort.bets(p):
        for stable, candidate in zip(bet.stable, bet.candidate, strict=True):
            assert p * math.exp(candidate) + (1 - p) * math.exp(stable) == pytest.approx(1, abs=1e-9)
        assert all(a <= b for a, b in pairwise(bet.candidate))
        assert all(a >= b for a, b in pairwise(bet.stable))


@given(COINS, st.floats(0, 1), st.floats(0, 1))
def test_a_proof_for_a_quantile_does_not_gain_while_the_candidate_is_slow_as_often(
    p: float, stable: float, beyond: float
) -> None:
    proof = QuantilePromote(0.5, stable_times(), TIMES)
    assert proof.threshold

    for bet in proof.bets(p, proof.threshold):
        assert mean(bet, p, stable, stable + (1 - stable) * beyond) <= 1 + 1e-9


# -- what bets are made from


def test_a_margin_before_a_share_allows_the_same_harm_to_the_whole() -> None:
    before_a_quarter = MARGIN.before(2500)

    assert (before_a_quarter.ratio, before_a_quarter.add) == pytest.approx((3.0, 0.004))
    assert 0.25 * (before_a_quarter.of(0.02) - 0.02) == pytest.approx(MARGIN.of(0.02) - 0.02)
    assert MARGIN.before(FULL) == MARGIN


@pytest.mark.parametrize("rate", [1e-6, 0.2, 0.5])
@pytest.mark.parametrize("following", [1, 100, 500, FULL])
def test_proofs_can_be_bet_on_at_every_rate_and_share(rate: float, following: int) -> None:
    for bet in MarginPromote(MARGIN.before(following)).bets(0.05, rate):
        assert all(math.isfinite(log) for log in bet)


def test_stables_past_fades_and_small_news_leave_the_bets_alone() -> None:
    rate = Rate()
    for _ in range(100):
        rate.learn(10_000, 100)

    assert rate.answers <= 65_536
    assert rate.value == pytest.approx(0.01, rel=0.02)
    held = rate.value
    assert not rate.learn(10, 0)
    assert rate.value == held


def test_a_histogram_fades() -> None:
    times = Histogram()
    for _ in range(3):
        times.add(10, 60_000)
        times.fade()

    assert times.total <= 65_536
    assert times.total == pytest.approx(sum(times.counts))


def test_the_interval_of_the_ratio_closes_in_on_the_truth() -> None:
    ratio = RatioSequence()
    assert ratio.interval() == (1 / 64, 1024)

    ratio.add(0.1, 900, 300)  # of errors that are sent at 10%, a quarter is three times its part

    low, high = ratio.interval()
    assert low < 3 < high
    assert high / low < 2


# -- the purse


def test_the_reserve_comes_in_over_time_and_never_makes_more_than_the_purse() -> None:
    step_by_step, at_once, for_ever = Wealth(WEIGHTS), Wealth(WEIGHTS), Wealth(WEIGHTS)
    for k in range(61):
        step_by_step.at(100.0 + k * RESTART)
    at_once.at(100.0)
    assert math.exp(at_once.log) == pytest.approx(0.7)
    at_once.at(100.0 + 60.5 * RESTART)
    for_ever.at(0.0)
    for_ever.at(1e12)

    assert at_once.log == pytest.approx(step_by_step.log)
    assert math.exp(at_once.log) == pytest.approx(1 - reserve(60))
    assert math.exp(for_ever.log) < 1


def test_a_clock_that_goes_back_puts_in_nothing() -> None:
    wealth = Wealth(WEIGHTS)
    wealth.at(100.0)
    wealth.at(200.0)
    had = wealth.log
    wealth.at(50.0)

    assert wealth.log == had


def test_information_is_nothing_where_the_sides_are_the_same() -> None:
    assert information(0.3, 0.02, 0.02) == pytest.approx(0)
    assert on_every_answer(0.3, 0.02, 0.02) == pytest.approx((0, 0, 0, 0))

"""The evidence on errors: fixed streams with known values, and the fairness of every bet."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployer.judge.bets import ODDS, WEIGHTS, Part, on_errors, on_every_answer, times_odds
from deployer.judge.errors import ErrorJudge
from deployer.judge.wealth import RESTART, Wealth, reserve
from deployer.model import FULL, Counts

RATES = st.floats(1e-5, 0.5)
SHARES = st.sampled_from([1, 100, 500, 1000, 5000, 9000, 9999])


def lcg(seed: int) -> Iterator[float]:
    """Draw uniform numbers that are the same in every language."""
    x = seed
    while True:
        x = (6364136223846793005 * x + 1442695040888963407) & (2**64 - 1)
        yield (x >> 11) / 2**53


Rate = Callable[[int], float]


@dataclass(frozen=True)
class Stream:
    """A rollout: shares by the request from which they hold, error rates of both sides by request."""

    shares: dict[int, int]
    stable: Rate
    candidate: Rate

    def ticks(self, length: int = 20_000, every: int = 25) -> Iterator[tuple[int, int, Counts, Counts]]:
        """Give (requests so far, share, stable, candidate) after every 25 requests; four draws a request."""
        draw = lcg(1)
        share, counts = 0, [[0, 0], [0, 0]]
        for n in range(length):
            share = self.shares.get(n, share)
            side = next(draw) < share / FULL
            error = next(draw) < (self.candidate if side else self.stable)(n)
            next(draw), next(draw)  # latency and tail, not used here
            counts[side][0] += 1
            counts[side][1] += error
            if (n + 1) % every == 0:
                yield n + 1, share, Counts(*counts[0]), Counts(*counts[1])
                counts = [[0, 0], [0, 0]]


def outage(n: int) -> float:
    return 0.3 if 5000 <= n < 6000 else 0.01


# Computed by an independent implementation of the same test: request of the alarm at alpha 0.01, and the
# logarithm of the evidence after 1,000 and 20,000 requests, without stopping.
STREAMS = {
    "equal": (Stream({0: 1000}, lambda n: 0.01, lambda n: 0.01), None, -1.110532, -4.587344),
    "errors x5": (Stream({0: 1000}, lambda n: 0.01, lambda n: 0.05), 3025, -0.369731, 61.414475),
    "broken": (Stream({0: 500}, lambda n: 0.01, lambda n: 1.0), 50, 162.359725, 3344.73552),
    "outage of both": (Stream({0: 1000}, outage, outage), None, -1.110532, -5.306875),
    "breaks late": (
        Stream({0: 1000}, lambda n: 0.01, lambda n: 1.0 if n >= 10_000 else 0.01),
        10_125,
        -1.110532,
        2605.173912,
    ),
    "equal, 5 %": (Stream({0: 5000}, lambda n: 0.05, lambda n: 0.05), None, -1.940135, -4.928205),
    "x3 while the share grows": (
        Stream({0: 100, 4000: 500, 8000: 2500, 12_000: 5000}, lambda n: 0.01, lambda n: 0.03),
        13_200,
        -1.118776,
        25.442721,
    ),
}


@pytest.mark.parametrize("name", STREAMS)
def test_known_streams(name: str) -> None:
    stream, alarm, early, late = STREAMS[name]
    judge = ErrorJudge().after(Counts(5000, 50), Counts(), 0, 0.0)  # stable was seen before the rollout
    alarms: list[int] = []
    evidence: dict[int, float] = {}

    for n, share, stable, candidate in stream.ticks():
        judge = judge.after(stable, candidate, share, n / 100)
        evidence[n] = judge.log_evidence
        if judge.log_evidence >= math.log(100):
            alarms.append(n)

    assert (alarms[0] if alarms else None) == alarm
    assert evidence[1000] == pytest.approx(early, abs=2e-6)
    assert evidence[20_000] == pytest.approx(late, abs=2e-6)


def test_bets_in_closed_form() -> None:
    tolerated = 1.5 * 0.01
    first, last = (on_every_answer(0.05, 0.01, times_odds(tolerated, f)) for f in (ODDS[0], ODDS[-1]))
    only = on_errors(0.05, 0.01, times_odds(tolerated, ODDS[0]))

    assert first == pytest.approx((0.000252557, -0.024692613, -0.004810745, 0.380772495), abs=1e-9)
    assert last == pytest.approx((0.051258407, -1.782839609, -7.267681733, 2.821674126), abs=1e-9)
    assert only == pytest.approx((0.0, -0.024692613, 0.0, 0.380772496), abs=1e-9)


@given(SHARES, RATES, st.sampled_from(ODDS), st.floats(0, 1), st.floats(0, 1))
def test_no_bet_gains_while_the_candidate_is_not_worse(
    share: int, rate: float, factor: float, stable: float, better: float
) -> None:
    p, candidate = share / FULL, stable * better
    bet = on_every_answer(p, rate, times_odds(max(1.5 * rate, rate + 0.001), factor))

    mean = (1 - p) * ((1 - stable) * math.exp(bet.stable_ok) + stable * math.exp(bet.stable_error))
    mean += p * ((1 - candidate) * math.exp(bet.candidate_ok) + candidate * math.exp(bet.candidate_error))

    assert mean <= 1 + 1e-9


@given(SHARES, RATES, st.sampled_from(ODDS), st.floats(0, 1))
def test_bets_on_errors_do_not_gain_while_the_candidate_has_no_more_than_its_part(
    share: int, rate: float, factor: float, less: float
) -> None:
    p = share / FULL
    bet = on_errors(p, rate, times_odds(max(1.5 * rate, rate + 0.001), factor))
    part = p * less  # of the errors that are the candidate's

    assert (1 - part) * math.exp(bet.stable_error) + part * math.exp(bet.candidate_error) <= 1 + 1e-9
    assert bet.stable_ok == bet.candidate_ok == 0


def test_shares_of_nothing_and_everything_only_teach_stables_rate() -> None:
    judge = ErrorJudge()

    for share in (0, FULL):
        taught = judge.after(Counts(5000, 50), Counts(400, 400), share, 0.0)

        assert taught.log_evidence == judge.log_evidence
        assert taught.rate == pytest.approx(50.5 / 5500)


def test_stables_past_fades_and_small_news_leave_the_bets_alone() -> None:
    judge = ErrorJudge()
    for _ in range(100):
        judge = judge.after(Counts(10_000, 100), Counts(), 0, 0.0)

    assert judge.requests <= 65_536
    assert judge.rate == pytest.approx(0.01, rel=0.02)
    assert judge.after(Counts(10, 0), Counts(), 0, 0.0).rate == judge.rate


def test_the_reserve_comes_in_over_time_and_never_makes_more_than_the_purse() -> None:
    wealth = Wealth.split(WEIGHTS).at(100.0)
    assert math.exp(wealth.log) == pytest.approx(0.7)

    step_by_step = wealth
    for k in range(1, 61):
        step_by_step = step_by_step.at(100.0 + k * RESTART)
    at_once = wealth.at(100.0 + 60.5 * RESTART)

    assert at_once.log == pytest.approx(step_by_step.log)
    assert math.exp(at_once.log) == pytest.approx(1 - reserve(60))
    assert math.exp(wealth.at(1e12).log) < 1


def test_a_clock_that_goes_back_puts_in_nothing() -> None:
    wealth = Wealth.split(WEIGHTS).at(100.0).at(200.0)

    assert wealth.at(50.0) == wealth


def test_part_is_the_share_unless_more_was_seen() -> None:
    part = Part().under(1000)
    assert part.p == 0.1
    assert part.after(1000, 10).p == 0.1
    assert part.after(5000, 5000).p == pytest.approx(0.496, abs=1e-3)
    assert part.after(5000, 5000).under(2500).p == 0.25

    for _ in range(100):
        part = part.after(9000, 1000)
    assert part.requests <= 65_536
    assert part.p == pytest.approx(0.1)

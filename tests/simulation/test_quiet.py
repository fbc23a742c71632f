"""Little to judge on: outages that both sides share, few requests, none."""

from __future__ import annotations

import pytest

from bench.contenders.ours import Ours
from bench.traffic.world import Tick, World, one_outage, steady
from deployer.model import FULL, Coins, Counts, Sample
from tests.simulation.many import End, Many, judged
from tests.tiers import draws, seeds

SHARES = (100, 500, 1000, 2500, 5000)


def test_an_outage_on_both_sides_never_blames_the_candidate(rollouts: Many) -> None:
    blamed = [seed for seed, end in enumerate(rollouts.each(outage, seeds(draws(60, 20)))) if end.kind == "worse"]
    assert not blamed


def outage(seed: int) -> End:
    world = World("outage", seconds=300, weather=one_outage(0.001, 0.3, begin=100, end=160), tick=1.0)
    return judged(world, seed)


@pytest.mark.parametrize("share", SHARES)
def test_one_error_in_five_requests_a_minute_does_not_abort(share: int) -> None:
    for place in range(5):
        judge = Ours(sticky=False)
        for minute in range(60):
            kind = judge_minute(judge, minute, share, error=place if minute == 30 else None)
            assert kind == "inconclusive", f"error {place}, minute {minute}"


def judge_minute(judge: Ours, minute: int, share: int, error: int | None) -> str:
    """Answer five requests, the candidate its part of them, one of them with an error if that is asked for."""
    for number in range(5):
        failed = int(number == error)
        mine = failed or (5 * minute + number) % (FULL // share) == 0  # the error is the candidate's
        side = Counts(1, failed, () if failed else (0,) * 300 + (1,))
        stable, candidate = (Counts(), side) if mine else (side, Counts())
        sample = Sample(stable, candidate, share, coins=(Coins(share / FULL, stable, candidate),))
        judge.observe(Tick(60.0 * minute + 12 * number, sample, FULL, failed))
    assert judge.verdict is not None
    return judge.verdict.kind


def test_one_failing_answer_in_five_on_both_sides_does_not_abort(rollouts: Many) -> None:
    assert not [seed for seed, end in enumerate(rollouts.each(frail, seeds(draws(100, 40)))) if end.kind == "worse"]


def frail(seed: int) -> End:
    world = World("five a minute", rps=5 / 60, seconds=3600, weather=steady(0.2), tick=6.0)
    return judged(world, seed)


@pytest.mark.parametrize("sticky", [False, True])
def test_without_traffic_nothing_can_be_judged(sticky: bool) -> None:
    judge = Ours(sticky=sticky)
    for second in range(3600):
        judge.observe(Tick(float(second), Sample(Counts(), Counts(), 1000), FULL, 0))
        assert judge.verdict is not None
        assert (judge.verdict.kind, judge.verdict.enough) == ("inconclusive", False)

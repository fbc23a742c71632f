"""Releases that are worse: found in nearly all rollouts, and within few requests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from bench.scenarios import SCENARIOS
from bench.table import quantile
from bench.traffic.world import Drift, World, steady
from tests.simulation.many import End, Many, judged, within
from tests.tiers import draws, seeds

ROLLOUTS = draws(120, 40)
SLACK = 1.35  # above the expected number: chance, another look rate, and an estimate of stable that begins at nothing
WARMUP = 200  # requests of the candidate whose latency are not compared


@dataclass(frozen=True)
class Case:
    """A fault, and after how many requests of both sides it is found: in the middle and nearly always (95%).

    The numbers were measured with an implementation of their own on simulated streams of 100 requests a second.
    """

    world: World
    share: int
    middle: int
    nearly_always: int


def case(fault: Drift, share: int, middle: int, nearly_always: int, rate: float = 0.001) -> Case:
    world = World("worse", steps=((0.0, share),), fault=fault, weather=steady(rate), tick=0.25)
    return Case(world, share, middle, nearly_always)


CASES = {
    "1% x5, 5%": case(Drift(ratio=5), 500, 3236, 8699, rate=0.01),
    "1% x5, 50%": case(Drift(ratio=5), 5000, 815, 1666, rate=0.01),
    "0.1% and 5 points, 5%": case(Drift(add=0.05), 500, 1234, 3054),
    "0.1% and 5 points, 50%": case(Drift(add=0.05), 5000, 416, 694),
    "broken, 5%": case(Drift(add=1), 500, 34, 88),
    "broken, 10%": case(Drift(add=1), 1000, 26, 45),
    "x1.5 slower, 50%": case(Drift(slower=1.5), 5000, 135 + 2 * WARMUP, 265 + 2 * WARMUP),
    "x1.5 slower, 5%": case(Drift(slower=1.5), 500, 620 + 20 * WARMUP, 1545 + 23 * WARMUP),
    "x2 slower, 5%": case(Drift(slower=2), 500, 205 + 20 * WARMUP, 405 + 23 * WARMUP),
}


def one(job: tuple[str, int]) -> End:
    name, seed = job
    return judged(CASES[name].world, seed)


@pytest.mark.parametrize("name", CASES)
def test_what_is_worse_is_found(name: str, rollouts: Many) -> None:
    case = CASES[name]
    ends = rollouts.each(one, [(name, seed) for seed in seeds(ROLLOUTS)])
    found = [end.requests for end in ends if end.kind == "worse"]
    middle, nearly_always = quantile(found, 0.5), quantile(found, 0.95)
    print(f"{name}: {len(found)} of {ROLLOUTS}, after {middle:,} / {nearly_always:,} requests")
    look = case.world.rps * case.world.tick  # it may be found a look later
    assert within(ROLLOUTS - len(found), ROLLOUTS, 0.02)
    assert within(sum(n > SLACK * case.middle + look for n in found), len(found), 0.5)
    assert within(sum(n > SLACK * case.nearly_always + look for n in found), len(found), 0.05)


LATE = {"x5-late": 12_000, "broken-late": 200, "slow-late": 4_500}  # requests after the fault began, by scenario


@pytest.mark.parametrize("name", LATE)
def test_a_fault_that_begins_late_is_found_as_well(name: str, rollouts: Many) -> None:
    """Ten good minutes excuse nothing."""
    ends = rollouts.each(late, [(name, seed) for seed in seeds(draws(30, 12))])
    before = SCENARIOS[name].fault.since * SCENARIOS[name].rps
    found = [end.requests - before for end in ends if end.kind == "worse"]
    print(f"{name}: {len(found)} of {len(ends)}, after {quantile(found, 0.5):,.0f} / {quantile(found, 0.95):,.0f}")
    assert len(found) == len(ends)
    late_at_most = LATE[name] + 3 * before**0.5  # how many came before varies as well
    assert within(sum(n > late_at_most for n in found), len(found), 0.1)


def late(job: tuple[str, int]) -> End:
    name, seed = job
    return judged(replace(SCENARIOS[name], tick=1.0), seed)

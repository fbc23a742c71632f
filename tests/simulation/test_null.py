"""Rollouts of a release that is as good as the stable one: how often is it rolled back?

Each world is hard in a way of its own; together they are more than 2,000 rollouts (240 for a change), each through the
shares 5, 25 and 50%, looked at every other second. The promise is `alpha` for each rollout as a whole.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from bench.contenders.ours import Ours
from bench.scenarios import play
from bench.traffic.world import Clients, Drift, World, outages, ramp, rising, steady
from deployer.manifest.judge import Judge
from deployer.model import FULL, Coins
from tests.simulation.many import End, Many, improbable, judged, within
from tests.tiers import draws, seeds

MINUTES = 6
SECONDS = 60.0 * MINUTES
EACH = draws(335, 30)
FEW = draws(60, 30)
STEPS = ramp(500, 2500, 5000, seconds=SECONDS)


def world(about: str, **changes: object) -> World:
    return World(about, **{"seconds": SECONDS, "steps": STEPS, "tick": 2.0, **changes})  # type: ignore[arg-type]


WORLDS = {
    "steady": world("0.1% errors"),
    "steady-1": world("1% errors", weather=steady(0.01)),
    "bursty": world(
        "outages of both sides", weather=outages(0.001), pace=outages(1.0, during=4.0, every=60.0, length=5.0)
    ),
    "drifting": world("errors and times grow", weather=rising(0.005, 4, SECONDS), pace=rising(1.0, 3, SECONDS)),
    "sticky": world("2,000 clients, 4 of them failing", rps=60.0, clients=Clients()),
    "sticky-few": world("100 clients, 2 of them failing", rps=60.0, clients=Clients(number=100, bad=0.02)),
}


def one(job: tuple[str, int]) -> End:
    name, seed = job
    return judged(WORLDS[name], seed)


@pytest.fixture(scope="module")
def aborts(rollouts: Many) -> dict[str, int]:
    jobs = [(name, seed) for name in WORLDS for seed in seeds(EACH)]
    ends = rollouts.each(one, jobs)
    return {name: sum(e.kind == "worse" for (n, _), e in zip(jobs, ends, strict=True) if n == name) for name in WORLDS}


@pytest.mark.parametrize("name", WORLDS)
def test_a_good_release_is_taken_back_no_more_often_than_promised(name: str, aborts: dict[str, int]) -> None:
    alpha = Judge().alpha
    told = f"{name}: {aborts[name]} of {EACH} rolled back ({aborts[name] / EACH:.2%}; promised at most {alpha:.0%})"
    print(told)
    assert not improbable(aborts[name], EACH, alpha), told


def test_over_all_worlds(aborts: dict[str, int]) -> None:
    alpha, number, of = Judge().alpha, sum(aborts.values()), EACH * len(WORLDS)
    told = f"{number} of {of} good releases rolled back ({number / of:.2%}; promised at most {alpha:.0%}): {aborts}"
    print(told)
    assert of >= draws(2000, 180)
    assert within(number, of, alpha), told


def test_a_judge_that_counts_each_answer_of_a_sticky_client_is_caught(rollouts: Many) -> None:
    """One client that fails again and again is no coin thrown again and again; the test above must see it."""
    aborted = sum(rollouts.each(naive, seeds(FEW)))
    assert improbable(aborted, FEW, Judge().alpha), f"{aborted} of {FEW} rolled back"


def naive(seed: int) -> bool:
    judge = Ours(sticky=False)
    for tick in play(WORLDS["sticky-few"], seed):
        sample = tick.sample
        coins = (Coins(sample.share / FULL, sample.stable, sample.candidate),)
        if judge.observe(replace(tick, sample=replace(sample, coins=coins))):
            return True
    return False


def test_a_cold_start_is_forgiven(rollouts: Many) -> None:
    ends = rollouts.each(cold, seeds(FEW))
    aborted = sum(end.kind == "worse" for end in ends)
    assert not improbable(aborted, len(ends), Judge().alpha), f"{aborted} of {len(ends)} rolled back"


def cold(seed: int) -> End:
    # 100 requests a second, 5%: some 150 responses of a candidate that is five times slower until it is warm
    return judged(world("cold", fault=Drift(slower=5, until=30)), seed)

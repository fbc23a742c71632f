"""Releases exactly at the margin, and what it takes to prove that a good one is no worse."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from bench.contenders.ours import Ours
from bench.scenarios import play
from bench.traffic.world import Drift, World, outages, steady
from deployer.manifest.judge import Judge
from deployer.model import FULL
from tests.simulation.many import End, Many, improbable, judged, within
from tests.tiers import draws, seeds

ROLLOUTS = draws(200, 40)


def at_margin(about: str, fault: Drift, share: int = 5000, **changes: object) -> World:
    steps = ((0.0, share), (240.0, 2500)) if share < 2500 else ((0.0, share),)
    return World(about, seconds=240, steps=steps, fault=fault, tick=1.0, **changes)  # type: ignore[arg-type]


# The margin of a step is that of the manifest over the share that follows: x1.5 or 0.1% in absolute terms before all
# users are on it, x3 or 0.4% before a quarter of them are.
WORLDS = {
    "1% and 1.5%": at_margin("ratio", Drift(ratio=1.5), weather=steady(0.01)),
    "0.1% and 0.2%": at_margin("difference", Drift(add=0.001)),
    "1% and 3% before a quarter": at_margin("scaled", Drift(ratio=3), share=500, weather=steady(0.01)),
    "outages of both": at_margin("outages", Drift(ratio=1.5), weather=outages(0.01, during=0.2, every=60)),
    "25% slower": at_margin("times", Drift(slower=1.25, late=5), weather=steady(0.01)),
}


def one(job: tuple[str, int]) -> End:
    name, seed = job
    return judged(WORLDS[name], seed, stop_at_proof=True)


@pytest.mark.parametrize("name", WORLDS)
def test_a_release_at_the_margin_is_seldom_called_no_worse(name: str, rollouts: Many) -> None:
    beta = Judge().beta
    ends = rollouts.each(one, [(name, seed) for seed in seeds(ROLLOUTS)])
    passed = sum(end.kind == "no worse" for end in ends)
    told = f"{name}: {passed} of {ROLLOUTS} called no worse ({passed / ROLLOUTS:.1%}; promised at most {beta:.0%})"
    print(told)
    assert not improbable(passed, ROLLOUTS, beta), told


# -- well within a margin


WITHIN = {
    "0.6%, where 1.1% is allowed": (World("errors", fault=Drift(add=0.005)), {"errors": {"add": "1%"}}),
    "twice as slow, where three times is": (World("times", fault=Drift(slower=2)), {"latency": {"margin": 3}}),
}


def covered(job: tuple[str, int]) -> End:
    name, seed = job
    world, policy = WITHIN[name]
    return judged(replace(world, seconds=300, tick=0.5), seed, config=Judge.model_validate(policy))


@pytest.mark.parametrize("name", WITHIN)
def test_what_a_wide_margin_covers_is_seldom_called_worse(name: str, rollouts: Many) -> None:
    """Evidence of a difference grows without end here; that it is one within the margin is what matters."""
    ends = rollouts.each(covered, [(name, seed) for seed in seeds(draws(80, 15))])
    worse = sum(end.kind == "worse" for end in ends)
    told = f"{name}: {worse} of {len(ends)} called worse"
    print(told)
    assert within(worse, len(ends), 0.1), told


# -- a whole rollout, each share as long as it needs


def canary(seed: int) -> End:
    """Go on to the next share as soon as it is shown to be harmless, after ten seconds at the earliest."""
    judge, kind, requests, candidate = Ours(sticky=False), "", 0, 0
    for place, (share, following) in enumerate(pairwise((500, 2500, 5000, FULL))):
        world = World("equal", steps=((0.0, share),), weather=steady(0.01), seconds=1200, tick=1.0)
        for tick in play(world, 3 * seed + place):
            requests += tick.sample.stable.requests + tick.sample.candidate.requests
            candidate += tick.sample.candidate.requests
            judge.observe(replace(tick, at=place * world.seconds + tick.at, following=following))
            kind = judge.verdict.kind if judge.verdict else ""
            if kind == "worse" or (kind == "no worse" and tick.at >= 10):
                break
        if kind != "no worse":
            break
    return End(kind, requests, candidate)


def test_a_good_release_is_promoted_without_waiting_out_the_clock(rollouts: Many) -> None:
    """At 1% errors and 100 requests a second: 36,000 requests in the middle, 58,000 at most nearly always."""
    ends = sorted(rollouts.each(canary, seeds(draws(40, 15))), key=lambda end: end.requests)
    promoted = [end.requests for end in ends if end.kind == "no worse"]
    print(f"{len(promoted)} of {len(ends)} promoted, after {promoted[len(promoted) // 2]:,} requests in the middle")
    assert within(len(ends) - len(promoted), len(ends), 0.05)
    assert within(sum(requests >= 1.25 * 36_425 for requests in promoted), len(promoted), 0.5)
    assert within(sum(requests >= 1.4 * 58_275 for requests in promoted), len(promoted), 0.05)

"""What is in flight: of an equal candidate no evidence at any load, of one that does not respond soon enough of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from random import Random

import pytest

from bench.table import quantile
from deployer.judge import Verdicts
from deployer.manifest.judge import Judge
from deployer.model import FULL, Counts, Sample, Waiting
from tests.simulation.many import Many, improbable
from tests.tiers import draws

EACH, SECONDS = draws(120, 20), 240
CONFIG = Judge.model_validate({"latency": False})


@dataclass(frozen=True)
class World:
    """Requests a second, how long each takes (seconds), shares in turn, the part that the candidate never answers."""

    rps: float
    takes: Callable[[Random, float], float]
    shares: tuple[int, ...] = (500, 2500, 5000)
    hangs: float = 0.0


def quick(random: Random, at: float) -> float:
    return random.lognormvariate(-3.0, 1.0)


def heavy(random: Random, at: float) -> float:
    return 0.05 * random.paretovariate(1.2)


def stalls(random: Random, at: float) -> float:
    """For five seconds of every minute everything takes up to five seconds, on both sides."""
    return quick(random, at) + (random.random() * 5 if at % 60 < 5 else 0)


def sockets(random: Random, at: float) -> float:
    return random.expovariate(1 / 60) if random.random() < 0.2 else quick(random, at)


NULL = {
    "quick": World(100, quick),
    "a heavy tail": World(40, heavy),
    "stalls of both sides": World(60, stalls),
    "sockets of a minute": World(30, sockets),
}


def readings(world: World, random: Random) -> Iterator[tuple[Waiting, int, float]]:
    """Yield what is in flight at each second."""
    ends: list[tuple[float, bool]] = []
    flying = [0, 0]
    at, step = 0.0, SECONDS / len(world.shares)
    for second in range(1, SECONDS):
        while (at := at + random.expovariate(world.rps)) < second:
            p = world.shares[int(at / step)] / FULL
            candidate = random.random() < p
            hangs = candidate and random.random() < world.hangs
            heappush(ends, (1e9 if hangs else at + world.takes(random, at), candidate))
            flying[candidate] += 1
        while ends and ends[0][0] < second:
            flying[heappop(ends)[1]] -= 1
        share = world.shares[int((second - 1) / step)]
        yield Waiting(share / FULL, *flying), share, float(second)


def called(job: tuple[World, int]) -> tuple[float, bool, str]:
    """Return the second of the verdict "worse" (0: never), whether the last look held the step, and why."""
    world, seed = job
    verdicts, share, text, held = Verdicts(CONFIG, sticky=False), 0, "", False
    for waiting, now, at in readings(world, Random(seed)):
        if now != share:
            share = now
            verdicts.begin(share, FULL)
        sample = Sample(Counts(90), Counts(10), share, waiting=waiting)
        verdict = verdicts.observe(sample, at)
        if verdict.kind == "worse":
            return at, True, verdict.text
        held, text = not verdict.enough, verdict.text
    return 0.0, held, text


@pytest.mark.parametrize("name", NULL)
def test_an_equal_candidate_is_not_called_worse_for_what_is_in_flight(name: str, rollouts: Many) -> None:
    ends = rollouts.each(one, [(name, seed) for seed in range(EACH)])
    worse, held = sum(at > 0 for at, _, _ in ends), sum(is_held for _, is_held, _ in ends)
    print(f"{name}: {worse} of {EACH} called worse, {held} paused at the end")
    assert not improbable(worse, EACH, CONFIG.alpha)
    assert not improbable(held, EACH, 0.05)


def one(job: tuple[str, int]) -> tuple[float, bool, str]:
    return called((NULL[job[0]], job[1]))


def tenth(seed: int) -> tuple[float, bool, str]:
    return called((World(100, quick, (1000,), 0.1), seed))


def test_a_tenth_that_is_never_answered_is_found(rollouts: Many) -> None:
    ends = rollouts.each(tenth, range(60))
    found = [at for at, _, _ in ends if at]
    print(f"{len(found)} of 60, after {quantile(found, 0.5):g} / {quantile(found, 0.95):g} s; {ends[0][2]}")
    assert len(found) == 60
    assert quantile(found, 0.95) <= 30

"""The mix of responses: equal ones are no evidence, and the commonest bad deploys are found within few requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

import pytest

from bench.table import quantile
from deployer.core.response_kinds import CUT, NUMBER, STATUSES, of_size
from deployer.judge import Verdicts
from deployer.manifest.judge import Judge
from deployer.model import FULL, Coins, Counts, Sample
from tests.simulation.many import Many, improbable
from tests.tiers import draws

EACH = draws(120, 20)
TICK, RPS = 2.0, 40.0
STEPS = (500, 2500, 5000)
STEP_SECONDS = 60.0
LONGER = 180.0
CONFIG = Judge.model_validate({"latency": False})

Mix = Mapping[int, float]  # part of each kind


def status(code: int) -> int:
    return STATUSES.index(str(code))


PAGES: Mix = {of_size(5000): 0.55, of_size(700): 0.2, of_size(90_000): 0.1, of_size(0): 0.05, of_size(60): 0.05}
SHOP: Mix = {**PAGES, status(404): 0.002, status(302): 0.03, status(401): 0.01, CUT: 0.008}


@dataclass(frozen=True)
class World:
    """What stable answers, what the candidate does, and what both have more of at some seconds."""

    stable: Mix
    candidate: Mix
    weather: Callable[[float], Mix] = lambda at: {}


def crawler(at: float) -> Mix:
    """For ten seconds of every minute four in ten requests are a crawler's, for pages that are gone."""
    return {status(404): 0.4} if at % 60 < 10 else {}


def growing(at: float) -> Mix:
    return {status(429): at / 600, of_size(0): at / 900}


def only(kind: int, part: float = 1.0) -> Mix:
    return {**{k: p * (1 - part) for k, p in SHOP.items()}, kind: part + SHOP.get(kind, 0.0) * (1 - part)}


NULL = {
    "a shop": World(SHOP, SHOP),
    "half of it 401 and 404": World(
        {status(401): 0.3, status(404): 0.2, of_size(300): 0.5}, {status(401): 0.3, status(404): 0.2, of_size(300): 0.5}
    ),
    "a crawler comes and goes": World(SHOP, SHOP, crawler),
    "limits and empty bodies grow": World(SHOP, SHOP, growing),
    "half as large": World({of_size(5000): 0.9, of_size(30_000): 0.1}, {of_size(2500): 0.9, of_size(15_000): 0.1}),
}
BAD = {
    "404 to everything": World(SHOP, only(status(404))),
    "an empty 200": World(SHOP, only(of_size(0))),
    "a redirect to itself": World(SHOP, only(status(302))),
    "404 for 10%": World(SHOP, only(status(404), 0.1)),
    "a page of an error instead of the page": World(SHOP, only(of_size(150))),
    "clients leave in the middle": World(SHOP, only(CUT)),
}


def counts(random: Random, requests: int, mix: Mix, more: Mix) -> Counts:
    kinds, errors = [0] * NUMBER, 0
    names, weights = [*mix, *more], [*mix.values(), *more.values()]
    rest = max(0.0, 1.0 - sum(weights))
    for kind in random.choices([*names, -1], [*weights, rest], k=requests):
        if kind >= 0:
            kinds[kind] += 1
        elif random.random() < 0.02:
            errors += 1
    return Counts(requests, errors, (), tuple(kinds))


def samples(world: World, random: Random, share: int | None = None) -> Iterator[tuple[Sample, float]]:
    at = 0.0
    for step in STEPS if share is None else (share,):
        for _ in range(round((STEP_SECONDS if share is None else LONGER) / TICK)):
            requests = round(random.gauss(RPS * TICK, (RPS * TICK) ** 0.5))
            candidate = sum(random.random() < step / FULL for _ in range(requests))
            both = (
                counts(random, requests - candidate, world.stable, world.weather(at)),
                counts(random, candidate, world.candidate, world.weather(at)),
            )
            yield Sample(*both, step, coins=(Coins(step / FULL, *both),)), at
            at += TICK


def null(job: tuple[str, int]) -> bool:
    name, seed = job
    verdicts, share = Verdicts(CONFIG, sticky=False), 0
    for sample, at in samples(NULL[name], Random(seed)):
        if sample.share != share:
            share = sample.share
            verdicts.begin(share, FULL)
        if verdicts.observe(sample, at).kind == "worse":
            return True
    return False


@pytest.mark.parametrize("name", NULL)
def test_an_equal_mix_is_no_evidence(name: str, rollouts: Many) -> None:
    worse = sum(rollouts.each(null, [(name, seed) for seed in range(EACH)]))
    told = f"{name}: {worse} of {EACH} called worse; promised at most {CONFIG.alpha:.0%}"
    print(told)
    assert not improbable(worse, EACH, CONFIG.alpha), told


def found(job: tuple[str, int, int]) -> tuple[int, str]:
    """Return after how many responses of the candidate it is called worse, and why."""
    name, share, seed = job
    verdicts, candidate = Verdicts(CONFIG, sticky=False), 0
    verdicts.begin(share, FULL)
    for sample, at in samples(BAD[name], Random(seed), share):
        candidate += sample.candidate.requests
        verdict = verdicts.observe(sample, at)
        if verdict.kind == "worse":
            return candidate, verdict.text
    return 0, ""


# Responses of the candidate at the median and in 95 of 100, at a share of 10% with a look every 2 s (8 responses).
POWER = {
    "404 to everything": (9, 14),
    "an empty 200": (12, 19),
    "a redirect to itself": (10, 17),
    "404 for 10%": (74, 380),
    "a page of an error instead of the page": (108, 148),
    "clients leave in the middle": (9, 14),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_mix_is_found(name: str, rollouts: Many) -> None:
    ends = rollouts.each(found, [(name, 1000, seed) for seed in range(100)])
    needed = [n for n, _ in ends if n]
    middle, most = quantile(needed, 0.5), quantile(needed, 0.95)
    print(f"{name}: {len(needed)} of 100, after {middle:g} / {most:g} responses of the candidate; {ends[0][1]}")
    assert len(needed) >= 99
    expected = POWER[name]
    assert middle <= 1.35 * expected[0] + 10
    assert most <= 1.35 * expected[1] + 10

"""Looks at made-up answers, for tests of verdicts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from deployer.judge import Verdict, Verdicts
from deployer.manifest.models import Judge
from deployer.model import FULL, Coins, Counts, Sample, latency_bucket


def judge(**more: Any) -> Judge:
    return Judge.model_validate(more)


def errors_only(**more: Any) -> Judge:
    return judge(latency=False, **more)


def sample(
    stable: tuple[int, int], candidate: tuple[int, int], share: int = 1000, lost: int = 0, sticky: bool = False
) -> Sample:
    """Make what was answered into a sample; where clients are sticky, each answer is the only one of its client."""
    sides = Counts(*stable), Counts(*candidate)
    thrown = Coins(share / FULL, *sides, (stable[1], candidate[1]) if sticky else (0, 0))
    return Sample(*sides, share, lost, (thrown,) if 0 < share < FULL else ())


def coin(random_: random.Random, requests: int, share: int, stable: float, candidate: float) -> Sample:
    """Draw requests that a coin sends to either side."""
    counts = [[0, 0], [0, 0]]
    for _ in range(requests):
        side = random_.random() * FULL < share
        counts[side][0] += 1
        counts[side][1] += random_.random() < (candidate if side else stable)
    (s, se), (c, ce) = counts
    return sample((s, se), (c, ce), share, sticky=True)


def timed(random_: random.Random, requests: int, share: int, stable: float, candidate: float) -> Sample:
    """Draw good answers whose times are spread around these medians."""
    times = [[0] * 1089, [0] * 1089]
    for _ in range(requests):
        side = random_.random() * FULL < share
        ms = (candidate if side else stable) * random_.lognormvariate(0, 0.5)
        times[side][latency_bucket(ms)] += 1
    ours, theirs = (Counts(sum(latency), 0, tuple(latency)) for latency in times)
    return Sample(ours, theirs, share, coins=(Coins(share / FULL, ours, theirs),))


def runs_until_worse(
    verdicts: Verdicts, draw: Callable[[int], Sample], looks: int, seconds: float = 0.25
) -> tuple[int, Verdict] | None:
    """Look until the candidate is called worse; return the candidate's requests and the verdict."""
    seen = 0
    for n in range(looks):
        drawn = draw(n)
        seen += drawn.candidate.requests
        verdict = verdicts.observe(drawn, n * seconds)
        if verdict.kind == "worse":
            return seen, verdict
    return None


def runs_until_shown(
    verdicts: Verdicts, draw: Callable[[int], Sample], looks: int, seconds: float = 0.25
) -> tuple[int, Verdict] | None:
    """Look until the candidate is shown to be no worse; return the looks and the verdict."""
    for n in range(looks):
        verdict = verdicts.observe(draw(n), n * seconds)
        if verdict.kind == "no worse":
            return n, verdict
    return None

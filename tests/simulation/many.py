"""Many rollouts at once, and how surprising a count of them is."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bench.contenders.ours import Ours
from bench.scenarios import play
from bench.traffic.world import World
from deployer.manifest.judge import Judge
from tests import tiers

WORKERS = len(os.sched_getaffinity(0))
SURPRISE = 1e-4  # a test fails when a judge that keeps its promise would do so once in 10,000 runs
Job = TypeVar("Job")
Result = TypeVar("Result")


@dataclass(frozen=True)
class End:
    """How the judge ended a rollout: with the first verdict that is not "inconclusive", or at the end of the stream."""

    kind: str
    requests: int  # of both sides
    candidate: int


class Many:
    """Plays rollouts in processes."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def each(self, function: Callable[[Job], Result], jobs: Sequence[Job]) -> list[Result]:
        """Call a function for each job; the results keep the order."""
        return list(self._pool.map(function, jobs, chunksize=max(1, len(jobs) // (8 * WORKERS))))


@contextmanager
def many() -> Iterator[Many]:
    """Start the processes, and end them."""
    with ProcessPoolExecutor(WORKERS) as pool:
        yield Many(pool)


def improbable(hits: int, of: int, p: float) -> bool:
    """Return whether so many hits or more would be a surprise if each had a probability of p at most."""
    return upper_tail(hits, of, p) < SURPRISE


def within(hits: int, of: int, share: float) -> bool:
    """Return whether hits are at most this share; with the few draws of a change, whether more is no surprise."""
    return hits <= share * of if tiers.FULL else not improbable(hits, of, share)


def upper_tail(hits: int, of: int, p: float) -> float:
    """Return the probability of so many hits or more."""

    def log(k: int) -> float:
        ways = math.lgamma(of + 1) - math.lgamma(k + 1) - math.lgamma(of - k + 1)
        return ways + k * math.log(p) + (of - k) * math.log1p(-p)

    return math.fsum(math.exp(log(k)) for k in range(hits, of + 1))


def judged(world: World, seed: int, *, config: Judge | None = None, stop_at_proof: bool = False) -> End:
    """Play one rollout to our judge until it is worse; with `stop_at_proof` also until it is no worse."""
    judge = Ours(sticky=world.clients is not None, config=config)
    requests, candidate, kind = 0, 0, ""
    for tick in play(world, seed):
        requests += tick.sample.stable.requests + tick.sample.candidate.requests
        candidate += tick.sample.candidate.requests
        judge.observe(tick)
        assert judge.verdict is not None
        kind = judge.verdict.kind
        if kind == "worse" or (stop_at_proof and kind == "no worse"):
            break
    return End(kind, requests, candidate)

"""Loads by chance, request by request, for the simulated service whose size a policy follows; the oracle beside it.

Requests come by chance at a rate that changes, each takes a time of its own, and an instance answers so many at once.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployer.evidence.scaling_replay import RequestsAtOnce, ScalingOutcome, SimulatedService, Usual, oracle
from deployer.manifest.scale import ScaleSettings
from deployer.model import InstanceLoad
from deployer.planning.concurrency import ConcurrencyLearner

CONCURRENCY = 12
TAKES = 0.5  # seconds, on average
START_SECONDS = 2.5
Rate = Callable[[float], float]


@dataclass(frozen=True)
class Outcome:
    """What came of a policy, and of the oracle beside it."""

    policy: ScalingOutcome
    oracle: ScalingOutcome

    @property
    def ratio(self) -> float:
        """How many times the instance-hours of the oracle it took."""
        return self.policy.instance_seconds / self.oracle.instance_seconds

    @property
    def waited(self) -> float:
        """The part of the requests that waited."""
        return self.policy.waited / max(1, self.policy.requests)

    def text(self) -> str:
        """Return it in a line."""
        seen = self.policy
        size = f"{seen.changes} changes, {self.ratio:.2f} x the oracle's hours"
        return f"{seen.requests} requests, {self.waited:.2%} waited, {size}, slowest reaction {seen.reaction:.2f} s"


def requests(rate: Rate, most: float, seconds: float, seed: int, takes: float = TAKES) -> Iterator[tuple[float, float]]:
    """Yield when requests come, at most `most` a second, and how long each takes: `takes` on average."""
    chance = random.Random(seed)
    at = chance.expovariate(most)
    while at < seconds:
        if chance.random() < rate(at) / most:
            yield at, chance.expovariate(1 / takes)
        at += chance.expovariate(most)


def outcome(
    rate: Rate, most: float, seconds: float, settings: ScaleSettings, seed: int, usual: Usual = lambda _at: None
) -> Outcome:
    """Return what came of a policy that begins with its fewest instances, and knows what is `usual`."""
    seen = RequestsAtOnce(0.0)
    service = SimulatedService(settings, START_SECONDS, 0.0, settings.within(0), usual=usual)
    for at, takes in requests(rate, most, seconds, seed):
        seen.add(at, takes)
        service.add(at, takes)
    seen.finish(seconds)
    return Outcome(service.finish(seconds), oracle(seen.highest, settings, START_SECONDS))


class KneeService:
    """Instances that answer `knee` requests at once well: what an instance gets beyond that waits inside it.

    It gets no more than `concurrency` of each proxy. A proxy fills the first instances first, and others wait there.
    Requests come to one of them by chance, to each with a `weight`.
    """

    def __init__(self, instances: int, knee: int, concurrency: int, weights: Sequence[float] = (1.0,)) -> None:
        self.concurrency = concurrency
        self._free = [[0.0] * knee for _ in range(instances)]  # when each worker of an instance has time
        self._weights, self._chance = weights, random.Random(len(weights))
        self._running = [[0] * len(weights) for _ in range(instances)]  # of each proxy
        self._total = [0] * instances
        self.failed = [0] * instances
        self._ends: list[tuple[float, int, int]] = []
        self._lines: list[deque[float]] = [deque() for _ in weights]

    def add(self, at: float, takes: float) -> None:
        """Take a request that came later than all before, and that takes so long where it does not wait."""
        self._until(at)
        (proxy,) = self._chance.choices(range(len(self._weights)), self._weights)
        self._lines[proxy].append(takes)
        self._fill(at, proxy)

    def look(self, at: float) -> Mapping[str, InstanceLoad]:
        """Return what all proxies together have of each instance at a moment."""
        self._until(at)
        seen = zip(self._running, self._total, self.failed, strict=True)
        return {
            f"shop-r1-{n}": InstanceLoad(sum(running), total, failed, tuple(running))
            for n, (running, total, failed) in enumerate(seen, 1)
        }

    def _until(self, at: float) -> None:
        while self._ends and self._ends[0][0] <= at:
            end, instance, proxy = heapq.heappop(self._ends)
            self._running[instance][proxy] -= 1
            self._fill(end, proxy)

    def _fill(self, at: float, proxy: int) -> None:
        while self._lines[proxy]:
            instance = next((n for n, of in enumerate(self._running) if of[proxy] < self.concurrency), None)
            if instance is None:
                return
            takes, workers = self._lines[proxy].popleft(), self._free[instance]
            end = max(at, workers[0]) + takes
            heapq.heapreplace(workers, end)
            heapq.heappush(self._ends, (end, instance, proxy))
            self._running[instance][proxy] += 1
            self._total[instance] += 1


@dataclass(frozen=True)
class Told:
    """The numbers that were learned, and when."""

    numbers: tuple[tuple[float, int], ...]
    why: str = ""

    @property
    def turns(self) -> int:
        """How often the number went the other way."""
        values = [number for _, number in self.numbers]
        ways = [one < other for one, other in pairwise(values)]
        return sum(one != other for one, other in pairwise(ways))


def learned(
    service: KneeService,
    came: Iterator[tuple[float, float]],
    seconds: float,
    meanwhile: Callable[[float], None] = lambda _at: None,
) -> Told:
    """Return what is learned of a service, which gets each number at once; `meanwhile` happens at each look."""
    learner, numbers, why, at = ConcurrencyLearner(service.concurrency), [(0.0, service.concurrency)], "", 0.0
    coming = next(came, None)
    while at < seconds:
        while coming is not None and coming[0] <= at:
            service.add(*coming)
            coming = next(came, None)
        meanwhile(at)
        learner.add(at, service.look(at))
        if (another := learner.learned()) is not None:
            service.concurrency, why = another.requests, another.why
            learner.follow(at, another.requests)
            numbers.append((at, another.requests))
        at += 0.25
    return Told(tuple(numbers), why)

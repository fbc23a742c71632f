"""Loads by chance, request by request, for the simulated service whose size a policy follows; the oracle beside it.

Requests come by chance at a rate that changes, each takes a time of its own, and an instance answers so many at once.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from deployer.evidence.scaling_replay import RequestsAtOnce, ScalingOutcome, SimulatedService, Usual, oracle
from deployer.manifest.scale import ScaleSettings

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
        """Say it in a line."""
        seen = self.policy
        size = f"{seen.changes} changes, {self.ratio:.2f} x the oracle's hours"
        return f"{seen.requests} requests, {self.waited:.2%} waited, {size}, slowest reaction {seen.reaction:.2f} s"


def requests(rate: Rate, most: float, seconds: float, seed: int) -> Iterator[tuple[float, float]]:
    """Give when requests come, at a rate of at most `most` a second, and how long each takes."""
    chance = random.Random(seed)
    at = chance.expovariate(most)
    while at < seconds:
        if chance.random() < rate(at) / most:
            yield at, chance.expovariate(1 / TAKES)
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

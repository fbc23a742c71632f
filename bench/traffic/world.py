"""What is true of a service and of its candidate while a stream of requests is made up."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random

from bench.traffic.draws import Latencies
from deployer.model import FULL, Sample

Course = Callable[[float], float]  # a number by seconds since the start
Weather = Callable[[Random], Course]  # how something that both sides share goes in one rollout
USUAL = Latencies.lognormal(median=50, sigma=0.5)


@dataclass(frozen=True)
class Tick:
    """What a judge may look at, `at` seconds after the start.

    `following` is the share that comes after the one in force; `harm` counts answers that the candidate made bad.
    """

    at: float
    sample: Sample
    following: int
    harm: int


@dataclass(frozen=True)
class Drift:
    """What is wrong with a candidate from `since` seconds on, until `until`: by default nothing.

    Its error rate is `ratio` times stable's, and `add` more. Its answers take `slower` times as long, or `late` ms
    more if that is longer; the part `tail` of them takes ten times as long on top.
    """

    ratio: float = 1.0
    add: float = 0.0
    slower: float = 1.0
    late: float = 0.0
    tail: float = 0.0
    since: float = 0.0
    until: float = math.inf

    def there(self, at: float) -> bool:
        """Return whether it shows now."""
        return self.since <= at < self.until

    def rate(self, stable: float) -> float:
        """Return the error rate of a candidate that has it."""
        return min(1.0, self.ratio * stable + self.add)

    def times(self, stable: Latencies) -> Latencies:
        """Return the answer times of a candidate that has it."""
        return stable.slowed(self.slower, self.late, self.tail)


@dataclass(frozen=True)
class Clients:
    """Who asks when a client keeps its side: a few of them ask much.

    `number` are there at a time and stay `stay` seconds on average; the part `bad` of them fails every second time,
    whichever side it is on.
    """

    number: int = 2000
    bad: float = 0.002
    stay: float = 300.0


def steady(rate: float) -> Weather:
    """Make a service that always fails alike."""
    return partial(_steady, rate)  # no lambda: a world may be sent to another process


def _steady(rate: float, _dice: Random) -> Course:
    return lambda _: rate


def outages(rate: float, during: float = 0.3, every: float = 120.0, length: float = 10.0) -> Weather:
    """Make a service whose both sides fail together now and then, at random moments."""

    def weather(dice: Random) -> Course:
        # Moments are drawn as they are needed; a stream asks for times that grow.
        begin = dice.expovariate(1 / every)
        end = begin + dice.expovariate(1 / length)

        def now(at: float) -> float:
            nonlocal begin, end
            while at >= end:
                begin = end + dice.expovariate(1 / every)
                end = begin + dice.expovariate(1 / length)
            return during if at >= begin else rate

        return now

    return weather


def rising(rate: float, times: float, seconds: float) -> Weather:
    """Make a service whose error rate grows to `times` as much within `seconds`, as it does in the morning."""
    return lambda _: lambda at: rate * (1 + (times - 1) * min(1.0, at / seconds))


def one_outage(rate: float, during: float, begin: float, end: float) -> Weather:
    """Make a service whose both sides fail between two moments."""
    return lambda _: lambda at: during if begin <= at < end else rate


@dataclass(frozen=True)
class World:
    """One scenario: how much is asked, for how long, under which shares, and what is wrong with the candidate.

    `steps` are moments in seconds with the share in basis points from then on; `tick` seconds lie between two looks.
    """

    about: str
    rps: float = 100.0
    seconds: float = 1800.0
    steps: tuple[tuple[float, int], ...] = ((0.0, 1000),)
    weather: Weather = field(default=steady(0.001))  # error rate of stable
    pace: Weather = field(default=steady(1.0))  # how many times slower than usual both sides are
    fault: Drift = field(default=Drift())
    latencies: Latencies = field(default=USUAL)
    clients: Clients | None = None
    tick: float = 1.0

    def share(self, at: float) -> int:
        """Return the share in force."""
        return next(share for begin, share in reversed(self.steps) if at >= begin)

    def following(self, at: float) -> int:
        """Return the share after the one in force; after the last it is all traffic."""
        return next((share for begin, share in self.steps if begin > at), FULL)


def ramp(*shares: int, seconds: float) -> tuple[tuple[float, int], ...]:
    """Return steps of equal length that fill `seconds`."""
    return tuple((k * seconds / len(shares), share) for k, share in enumerate(shares))

"""Streams of requests, the same in every language, with what an independent implementation of the tests says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from deployer.model import Counts, latency_bucket

LENGTH, LOOK_EVERY, PER_SECOND = 20_000, 25, 100


def lcg(seed: int) -> Iterator[float]:
    """Draw uniform numbers."""
    x = seed
    while True:
        x = (6364136223846793005 * x + 1442695040888963407) & (2**64 - 1)
        yield (x >> 11) / 2**53


def time_of(u: float) -> float:
    """Turn a uniform number into a time in ms: half of them below 50, one in a hundred above 198."""
    u = min(max(u, 1e-9), 1 - 1e-9)
    return float(50 * (u / (1 - u)) ** 0.3)


def before() -> Counts:
    """What stable answered before the rollout: 50 errors in 5,000, and a thousand times at evenly spread quantiles."""
    latency = [0] * 1089
    for k in range(1, 1001):
        latency[latency_bucket(time_of((k - 0.5) / 1000))] += 1
    return Counts(5000, 50, tuple(latency))


class Answer(NamedTuple):
    """One request of a stream; `before` is the share that follows the present one, where a step begins, else 0."""

    n: int
    p: float
    begins: int
    candidate: bool
    error: bool
    ms: float


class Known(NamedTuple):
    """Request of the alarm and of the advance; logarithms of the evidence after 1,000 and 20,000 requests, unstopped.

    `end` is: errors, latency, and the proofs for errors, p50 and p99; `ratio` is the interval at the end.
    """

    abort: int | None
    advance: int | None
    early: tuple[float, float]
    end: tuple[float, float, float, float, float]
    ratio: tuple[float, float]


Rate = Callable[[int], float]


@dataclass(frozen=True)
class Stream:
    """A rollout: shares in basis points by the request from which they hold, and what the sides do."""

    known: Known
    shares: dict[int, int]
    stable: Rate
    candidate: Rate
    slower: float = 1.0
    tail: float = 0.0  # part of the candidate's answers that take ten times as long

    def __iter__(self) -> Iterator[Answer]:
        """Draw per request, in this order: side, error, time, tail."""
        draw, share = lcg(1), 0
        following = [*list(self.shares.values())[1:], 10_000]
        for n in range(LENGTH):
            begins = 0
            if n in self.shares:
                share, begins = self.shares[n], following.pop(0)
            candidate = next(draw) < share / 10_000
            error = next(draw) < (self.candidate if candidate else self.stable)(n)
            ms, in_tail = time_of(next(draw)), next(draw) < self.tail
            if candidate:
                ms *= self.slower * (10 if in_tail else 1)
            yield Answer(n, share / 10_000, begins, candidate, error, ms)


def outage(n: int) -> float:
    return 0.3 if 5000 <= n < 6000 else 0.01


def always(rate: float) -> Rate:
    return lambda n: rate


STREAMS = {
    "equal": Stream(
        Known(
            None,
            None,
            (-1.110532, -0.356675),
            (-4.587344, -9.651523, 2.527226, 103.337690, 0.459533),
            (0.3242, 1.6818),
        ),
        {0: 1000},
        always(0.01),
        always(0.01),
    ),
    "errors x5": Stream(
        Known(
            3025,
            None,
            (-0.369731, -0.356675),
            (61.414475, -9.330902, -12.847265, 98.987474, 0.820808),
            (3.0844, 6.7272),
        ),
        {0: 1000},
        always(0.01),
        always(0.05),
    ),
    "broken": Stream(
        Known(
            50,
            None,
            (162.359725, -0.356675),
            (3344.735520, 535.672120, -167.077213, -0.833951, -0.178164),
            (69.7925, 117.3765),
        ),
        {0: 500},
        always(0.01),
        always(1.0),
    ),
    "half as slow again": Stream(
        Known(
            2550,
            None,
            (-1.110532, -0.356675),
            (-4.587344, 308.968920, 2.527226, -108.971874, -7.430852),
            (0.3242, 1.6818),
        ),
        {0: 1000},
        always(0.01),
        always(0.01),
        slower=1.5,
    ),
    "a slow tail": Stream(
        Known(
            5350,
            None,
            (-1.110532, -0.356675),
            (-4.587344, 40.478193, 2.527226, 84.139603, -14.496766),
            (0.3242, 1.6818),
        ),
        {0: 1000},
        always(0.01),
        always(0.01),
        tail=0.02,
    ),
    "outage of both": Stream(
        Known(
            None,
            None,
            (-1.110532, -0.356675),
            (-5.306875, -10.091476, 3.810076, 100.278345, 0.398781),
            (0.5453, 1.5422),
        ),
        {0: 1000},
        outage,
        outage,
    ),
    "breaks late": Stream(
        Known(
            10_150,
            None,
            (-1.110532, -0.356675),
            (2605.173912, 563.168467, -154.343454, 44.924653, 0.063947),
            (34.8962, 58.6883),
        ),
        {0: 1000},
        always(0.01),
        lambda n: 1.0 if n >= 10_000 else 0.01,
    ),
    "equal, 5% errors": Stream(
        Known(
            None,
            6575,
            (-1.940135, -2.145496),
            (-4.928205, -8.081710, 19.420728, 325.369712, 6.989555),
            (0.8409, 1.1892),
        ),
        {0: 5000},
        always(0.05),
        always(0.05),
    ),
    "x3 while the share grows": Stream(
        Known(
            13_550,
            None,
            (-1.118776, -0.356675),
            (25.442721, -8.934972, -7.390317, 143.440072, 2.531217),
            (1.6818, 4.3620),
        ),
        {0: 100, 4000: 500, 8000: 2500, 12_000: 5000},
        always(0.01),
        always(0.03),
    ),
}

"""What both sides of a rollout answered: counts, coins and samples, which add up."""

from __future__ import annotations

import math
import operator
from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True)
class Counts:
    """Requests of one side since some moment; `latency` counts good answers per bucket, see `latency_bucket`.

    `errors` are answers that blame the release: 5xx by it, or by the proxy for it, also those that a user did not see
    because stable answered instead. Forced (preview) requests are left out. `latency` may end early: what is not there
    is 0. `kinds` counts good answers by what they are, see `kinds`; it may end early too.
    """

    requests: int = 0
    errors: int = 0
    latency: tuple[int, ...] = ()
    kinds: tuple[int, ...] = ()

    def __add__(self, more: Counts) -> Counts:
        return Counts(
            self.requests + more.requests,
            self.errors + more.errors,
            _added(self.latency, more.latency),
            _added(self.kinds, more.kinds),
        )

    def quantile(self, q: float) -> float | None:
        """Return the latency in ms under which the part `q` of the good answers fell (upper edge of its bucket)."""
        fell = list(accumulate(self.latency))
        if not fell or not fell[-1]:
            return None
        return LATENCY_BOUNDS[min(bisect_left(fell, q * fell[-1]), len(LATENCY_BOUNDS) - 1)]


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    long, short = (one, other) if len(one) >= len(other) else (other, one)
    return (*map(operator.add, long, short), *long[len(short) :]) if short else long


# Bucket 0 is below 1 ms, then 64 buckets an octave up to 131 s: the upper edges, in ms. An edge belongs to the bucket
# above it. Sixteen buckets an octave, as the judge uses them, are four of these each.
PER_OCTAVE, OCTAVES = 64, 17
LATENCY_BOUNDS: tuple[float, ...] = tuple(2 ** (k / PER_OCTAVE) for k in range(PER_OCTAVE * OCTAVES + 1))


def latency_bucket(ms: float) -> int:
    """Return the bucket of a latency in milliseconds."""
    return 0 if ms < 1 else min(PER_OCTAVE * OCTAVES, 1 + int(PER_OCTAVE * math.log2(ms)))


@dataclass(frozen=True)
class Coins:
    """Answers whose side was thrown by independent coins that fell on the candidate with probability `p`.

    Where each request is thrown, these are all of them. Where a client keeps its side, a client counts once in a step:
    with its first answer. `first_errors` are then clients (of stable, of the candidate) that failed for the first time
    in the rollout, whichever of their answers that was; otherwise (0, 0). `first_kinds` are the same for each kind.
    """

    p: float
    stable: Counts = Counts()
    candidate: Counts = Counts()
    first_errors: tuple[int, int] = (0, 0)
    first_kinds: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())

    def __add__(self, more: Coins) -> Coins:
        (s, c), (more_s, more_c) = self.first_errors, more.first_errors
        (stable, candidate), (more_stable, more_candidate) = self.first_kinds, more.first_kinds
        return Coins(
            self.p,
            self.stable + more.stable,
            self.candidate + more.candidate,
            (s + more_s, c + more_c),
            (_added(stable, more_stable), _added(candidate, more_candidate)),
        )


@dataclass(frozen=True)
class Waiting:
    """Requests of both sides that had no end when the proxy was asked, and the probability of the candidate."""

    p: float
    stable: int
    candidate: int

    def __add__(self, more: Waiting) -> Waiting:
        return Waiting(self.p, self.stable + more.stable, self.candidate + more.candidate)


@dataclass(frozen=True)
class Arrived:
    """Requests to a service of a chain that has callers: with the side stable or candidate on them, or without one."""

    stable: int = 0
    candidate: int = 0
    without: int = 0

    def __add__(self, more: Arrived) -> Arrived:
        return Arrived(self.stable + more.stable, self.candidate + more.candidate, self.without + more.without)

    def times(self, count: int) -> Arrived:
        """Return as many of each, so many times."""
        return Arrived(self.stable * count, self.candidate * count, self.without * count)

    @property
    def all(self) -> int:
        """How many these are."""
        return self.stable + self.candidate + self.without


@dataclass(frozen=True)
class Sample:
    """What both sides answered since the last look, and the share that is in force.

    `stable` is what the candidate is compared with: the fresh baseline where there is one, and `rest` is then what the
    other instances of stable answered. `stable` and `candidate` hold every answer; `coins` what may be bet on, by
    probability, and `routes` the same for each path prefix of `traffic.routes` (by its place there). `shielded` are
    errors of the candidate that its users did not see. `waiting` is there when the proxy was asked since. `few` are
    failed answers that are left out of all that, because a few addresses gave most of the failures. `arrived` says how
    requests came that should carry a side.
    """

    stable: Counts
    candidate: Counts
    share: int
    lost: int = 0  # lines that the reader could not get: known to be missing
    coins: tuple[Coins, ...] = ()
    routes: tuple[tuple[int, tuple[Coins, ...]], ...] = ()
    rest: Counts = Counts()
    shielded: int = 0
    waiting: Waiting | None = None
    few: int = 0
    arrived: Arrived = Arrived()

    def __add__(self, more: Sample) -> Sample:
        """Merge what another proxy saw at the same time; the share is that of the left one.

        A client that keeps its side and came in at both is then two coins: give such proxies one tally instead.
        """
        routes: dict[int, tuple[Coins, ...]] = {}
        for number, coins in (*self.routes, *more.routes):
            routes[number] = merged(routes.get(number, ()), coins)
        return Sample(
            self.stable + more.stable,
            self.candidate + more.candidate,
            self.share,
            self.lost + more.lost,
            merged(self.coins, more.coins),
            tuple(sorted(routes.items())),
            self.rest + more.rest,
            self.shielded + more.shielded,
            self.waiting + more.waiting if self.waiting and more.waiting else self.waiting or more.waiting,
            self.few + more.few,
            self.arrived + more.arrived,
        )


def merged(*parts: tuple[Coins, ...]) -> tuple[Coins, ...]:
    """Add coins of the same probability up."""
    by_p: dict[float, Coins] = {}
    for coins in (c for part in parts for c in part):
        by_p[coins.p] = by_p[coins.p] + coins if coins.p in by_p else coins
    return tuple(by_p[p] for p in sorted(by_p))

"""A stream in which each request is thrown by a coin of its own."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from bench.traffic.draws import Latencies, arrivals, binomial
from bench.traffic.world import Tick, World
from deployer.model import FULL, Coins, Counts, Sample


def thrown(world: World, dice: Random) -> Iterator[Tick]:
    """Make up the requests of one rollout; the same dice make the same ones."""
    stable_rate, pace = world.weather(dice), world.pace(dice)
    faulty = world.fault.times(world.latencies)
    for number in range(round(world.seconds / world.tick)):
        begin = number * world.tick
        share, rate, slow = world.share(begin), stable_rate(begin), pace(begin)
        requests = arrivals(dice, world.rps * world.tick)
        drawn = binomial(dice, requests, share / FULL)
        stable, _ = _side(dice, requests - drawn, rate, world.latencies, slow)
        if world.fault.there(begin):
            candidate, tail = _side(dice, drawn, world.fault.rate(rate), faulty, slow)
            late = candidate.requests - candidate.errors if world.fault.slower > 1 else tail
        else:
            candidate, late = _side(dice, drawn, rate, world.latencies, slow)
        sample = Sample(stable, candidate, share, coins=_coins(share, stable, candidate))
        yield Tick(begin + world.tick, sample, world.following(begin), candidate.errors + late)


def _side(dice: Random, requests: int, rate: float, latencies: Latencies, pace: float) -> tuple[Counts, int]:
    errors = binomial(dice, requests, rate)
    times, slow = latencies.draw(dice, requests - errors, pace)
    return Counts(requests, errors, times), slow


def _coins(share: int, stable: Counts, candidate: Counts) -> tuple[Coins, ...]:
    if not 0 < share < FULL or not stable.requests + candidate.requests:
        return ()
    return (Coins(share / FULL, stable, candidate),)

"""The rollouts that the judges are tried on, by name. Half an hour each, 10 % of 100 requests a second unless said.

The judges look once a second; four times, as a rollout does, where a fault is so plain that it makes a difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from bench.traffic.sticky import sticky
from bench.traffic.thrown import thrown
from bench.traffic.world import Clients, Drift, Tick, World, one_outage, outages, ramp, rising, steady

_HALF_HOUR = 1800.0
_RAMP = ramp(500, 2500, 5000, seconds=_HALF_HOUR)
_ONE_PERCENT = steady(0.01)
_LATE = 600.0
_OFTEN = 0.25

SCENARIOS: dict[str, World] = {
    "null": World("0.1 % errors"),
    "null-1": World("1 % errors", weather=_ONE_PERCENT),
    "null-outages": World("0.1 % errors, 30 % for 10 s every 2 min", weather=outages(0.001)),
    "null-outage": World("0.1 % errors, 30 % for 3 min", weather=one_outage(0.001, 0.3, 600, 780)),
    "null-drift": World("0.5 % errors grow to 2 %, 5-25-50 %", steps=_RAMP, weather=rising(0.005, 4, _HALF_HOUR)),
    "null-sticky": World("2,000 clients, 4 of them failing, 5-25-50 %", steps=_RAMP, clients=Clients()),
    "null-quiet": World("5 requests a minute, 1 % errors", rps=5 / 60, weather=_ONE_PERCENT),
    "x2": World("0.1 % errors, candidate x2", fault=Drift(ratio=2)),
    "x5": World("0.1 % errors, candidate x5", fault=Drift(ratio=5)),
    "x2-1": World("1 % errors, candidate x2", weather=_ONE_PERCENT, fault=Drift(ratio=2)),
    "x5-1": World("1 % errors, candidate x5", weather=_ONE_PERCENT, fault=Drift(ratio=5), tick=_OFTEN),
    "+5pp": World("0.1 % errors, candidate 5.1 %", fault=Drift(add=0.05), tick=_OFTEN),
    "broken": World("0.1 % errors, candidate fails always", fault=Drift(add=1), tick=_OFTEN),
    "broken-late": World("the same from minute 10 on", fault=Drift(add=1, since=_LATE), tick=_OFTEN),
    "x5-late": World("1 % errors, candidate x5 from minute 10 on", weather=_ONE_PERCENT, fault=Drift(5, since=_LATE)),
    "x5-outages": World("0.1 % errors, x5, outages of both", weather=outages(0.001), fault=Drift(ratio=5)),
    "slow-1.5": World("median 50 ms, candidate 75 ms", fault=Drift(slower=1.5), tick=_OFTEN),
    "slow-2": World("median 50 ms, candidate 100 ms", fault=Drift(slower=2), tick=_OFTEN),
    "slow-tail": World("1 % of the candidate's answers x10 slower", fault=Drift(tail=0.01)),
    "sticky-x5": World("2,000 clients, 1 % errors, x5", weather=_ONE_PERCENT, fault=Drift(5), clients=Clients()),
    "quiet-broken": World("5 requests a minute, candidate fails always", rps=5 / 60, fault=Drift(add=1)),
    "slow-late": World("candidate 75 ms instead of 50 from minute 10 on", fault=Drift(slower=1.5, since=_LATE)),
}


def play(world: World, seed: int) -> Iterator[Tick]:
    """Make up one rollout of a world; a seed stands for one and the same stream."""
    dice = Random(seed)
    return sticky(world, dice) if world.clients else thrown(world, dice)

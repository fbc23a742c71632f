"""All judges on one stream, and what each of them made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from bench.contenders.contender import Contender
from bench.contenders.ours import Ours
from bench.contenders.ranks import Ranks
from bench.contenders.thresholds import ARGO, FLAGGER, FLAGGER_QUICK, Thresholds
from bench.scenarios import SCENARIOS, play
from bench.traffic.world import Tick

Field = Mapping[str, Callable[[bool], Contender]]  # makes judges for one rollout, told whether clients are sticky

FIELD: Field = {
    "deployer": lambda sticky: Ours(sticky=sticky),
    "Flagger 1m": lambda _: Thresholds(FLAGGER),
    "Flagger 10s": lambda _: Thresholds(FLAGGER_QUICK),
    "Argo 5m": lambda _: Thresholds(ARGO),
    "Mann-Whitney": lambda _: Ranks(),
}


@dataclass(frozen=True)
class Outcome:
    """What one judge made of one rollout.

    `requests` of both sides and `seconds` are those since the fault began; `harm` are answers that the candidate made
    bad until it was taken back, or until the end.
    """

    judge: str
    aborted: bool
    early: bool  # before there was a fault
    requests: int
    seconds: float
    harm: int


def compete(ticks: Iterable[Tick], *, sticky: bool, since: float = 0.0, field: Field = FIELD) -> list[Outcome]:
    """Show one stream to every judge, each until it takes the candidate back."""
    judging = {name: make(sticky) for name, make in field.items()}
    done: dict[str, Outcome] = {}
    requests, harm, at = 0, 0, 0.0
    for tick in ticks:
        at = tick.at
        harm += tick.harm
        if at > since:
            requests += tick.sample.stable.requests + tick.sample.candidate.requests
        for name in [name for name, judge in judging.items() if judge.observe(tick)]:
            del judging[name]
            done[name] = Outcome(name, True, at <= since, requests, max(0.0, at - since), harm)
        if not judging:
            break
    for name in judging:
        done[name] = Outcome(name, False, False, requests, at - since, harm)
    return [done[name] for name in field]


def rollout(job: tuple[str, int]) -> tuple[str, list[Outcome]]:
    """Play the rollout of a scenario and a seed; return it with its scenario."""
    name, seed = job
    world = SCENARIOS[name]
    return name, compete(play(world, seed), sticky=world.clients is not None, since=world.fault.since)

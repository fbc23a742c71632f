"""Send the new release a growing share of traffic, compare it with stable, promote it or roll it back."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployer.core.errors import Refused
from deployer.manifest import quiet
from deployer.manifest.approval import Approval
from deployer.manifest.units import BasisPoints, Seconds
from deployer.model import FULL, Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import (
    approval,
    bake,
    baseline,
    before,
    first_deploy,
    prove,
    remove,
    settle,
    share,
    start,
    twin,
    watch_instances,
    way_back,
)
from deployer.planning.steps import Approve, Step, Watch, percent

PATIENCE = 10  # a step of fixed time waits up to this many times its length for enough requests …
PATIENCE_SECONDS = 60.0  # … and at least this much longer
PROOF_SECONDS = 1800.0  # a step without `for`, after which it is inconclusive where a proof is required
SLACK_SECONDS = 10.0  # for responses that are under way when the time is over
LEAST_SECONDS = 10.0  # however much traffic there is: what comes with time, such as a queue that fills, needs some
WORKER_SECONDS = 60.0  # a step of a worker: its instances and metrics are watched, and no proof ends it early
HALF = FULL // 2  # a baseline gets as much of the traffic as the candidate


class Stage(BaseModel):
    """One share, how long it is watched, and whose consent it takes to go on from it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    share: BasisPoints = Field(
        description="Traffic share, in percent; without a `port`, part of the instances.", gt=0, le=FULL
    )
    seconds: Seconds | None = Field(
        None, alias="for", gt=0, description="Time at this share; default: the option `for`."
    )

    approve: Approval | None = Field(
        None, description="People who must approve after the analysis, before the share grows."
    )

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Stage) else {"share": data}


class Options(BaseModel):
    """The shares of the traffic, and how long each is watched."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    percent: BasisPoints | None = Field(
        None, gt=0, le=FULL, description="First share, in percent; after it come the larger ones of `steps`."
    )
    steps: tuple[Stage, ...] = Field(
        (Stage(share=5), Stage(share=25), Stage(share=50)), min_length=1, description="Shares in percent, rising."
    )
    seconds: Seconds | None = Field(
        None,
        alias="for",
        gt=0,
        description="Time at each share; default: until it is proven no worse, or `within` is over.",
    )
    within: Seconds | None = Field(
        None,
        ge=LEAST_SECONDS,
        description="Longest time at each share, where `for` is not set; default: 10m (30m with `judge.proof: "
        "required`, 1m without a `port`).",
    )
    bake: Seconds = Field(30.0, description="Time with all users on the new release before it is promoted; 0 for none.")
    baseline: Literal["stable", "fresh"] = Field(
        "stable",
        description="`fresh`: compare with newly started instances of the stable release, as cold as the candidate's.",
    )
    hold: bool = Field(
        False, description="Pause at the first share, before its analysis, until `deploy resume`, `promote` or `abort`."
    )

    @model_validator(mode="after")
    def _rising(self) -> Options:
        shares = [s.share for s in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError("the shares of `steps` must rise from step to step")
        return self

    @model_validator(mode="after")
    def _possible(self) -> Options:
        shares = [s.share for s in self.stages() if s.share < FULL]
        if self.baseline == "fresh" and max(shares, default=0) > HALF:
            too_much = f"no share above {percent(HALF)}, not {percent(max(shares))}"
            raise ValueError(f"a fresh baseline gets as much as the candidate: {too_much}")
        if self.hold and not shares:
            raise ValueError("there is nothing left to hold for at a first share of 100%")
        return self

    def stages(self) -> tuple[Stage, ...]:
        """Return the stages that follow from `percent` and `steps`."""
        if self.percent is None:
            return self.steps
        first = next((s for s in self.steps if s.share == self.percent), Stage(share=self.percent / 100))
        return (first, *(s for s in self.steps if s.share > self.percent))


def _stage(observed: Observed, release: Release, stage: Stage, following: int, options: Options) -> tuple[Step, ...]:
    fresh = options.baseline == "fresh"
    length = _length(release, stage.seconds or options.seconds, options.within)
    watch = Watch(
        share=stage.share,
        release=release.number,
        colour=observed.colour,
        requests=release.manifest.judge.requests,
        following=following,
        against="baseline" if fresh else "stable",
        **length,
    )
    return (share(stage.share, baseline=stage.share if fresh else 0), watch)


def _length(release: Release, seconds: float | None, within: float | None) -> dict[str, Any]:
    """Return how a step ends: after a fixed time, with the proof, or by whichever of both comes first."""
    if seconds:
        return {"seconds": seconds, "deadline": max(seconds * PATIENCE, seconds + PATIENCE_SECONDS)}
    if release.manifest.judge.proof == "required":
        return {"seconds": 0.0, "least": LEAST_SECONDS, "deadline": within or PROOF_SECONDS}
    seconds = within or quiet.WITHIN
    return {"seconds": seconds, "early": True, "least": LEAST_SECONDS, "deadline": seconds + SLACK_SECONDS}


def _rise(observed: Observed, release: Release, options: Options) -> tuple[Step, ...]:
    """Raise the share from stage to stage, then give it to everyone for a while."""
    # With all users on it there is nothing to compare with: a last stage of 100% is the bake by another name.
    compared = [s for s in options.stages() if s.share < FULL]
    full = next((s for s in options.stages() if s.share == FULL), Stage(share=100))
    steps: list[Step] = []
    for n, stage in enumerate(compared):
        following = compared[n + 1].share if n + 1 < len(compared) else FULL
        given, watch = _stage(observed, release, stage, following, options)
        held = (Approve(share=stage.share, deadline=60),) if options.hold and n == 0 else ()
        steps += (given, *held, watch)
        if stage.approve:
            steps.append(approval(stage.approve, stage.share))
    return (*steps, *bake(observed, release, full.seconds or options.bake))


def _instances(observed: Observed, release: Release, options: Options) -> tuple[Step, ...]:
    """Start a growing part of the instances beside the stable ones, each part watched; then the rest."""
    every, colour = release.size(observed.colour), observed.colour
    steps: list[Step] = [*before(observed, release)]
    there = 0
    for stage in (s for s in options.stages() if s.share < FULL):
        wanted = max(1, math.ceil(every * stage.share / FULL))
        if wanted > there:
            first, there = not there, wanted
            steps += [*start(release, colour, there), *(prove(release, colour) if first else ())]
            seconds = stage.seconds or options.seconds or options.within or WORKER_SECONDS
            watch = watch_instances(observed, release, there, seconds)
            held = (Approve(share=0, deadline=60, instances=watch.what),) if options.hold and first else ()
            steps += [*held, watch]
        if stage.approve:
            steps.append(approval(stage.approve, 0, watch_instances(observed, release, there, 0).what))
    if there < every:
        steps += [*start(release, colour), *(() if there else prove(release, colour))]
        steps += bake(observed, release, options.bake)
    return tuple(steps)


def _worker(observed: Observed, stable: Release, release: Release, options: Options) -> Plan:
    if options.baseline == "fresh":
        raise Refused("a worker has no responses to compare: `baseline: fresh` says nothing here", "remove it")
    forward = (*_instances(observed, release, options), *settle(observed, release))
    back = way_back(observed, release)
    return Plan.make(release.service, "canary", stable.number, release.number, forward, back)


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan a canary: twin, rising shares with a watch at each, all users on it for a while, promotion.

    Of a worker a growing part of the instances runs beside the stable ones.
    """
    stable = observed.stable
    if stable is None:
        return first_deploy(observed, release, "canary")
    if not release.served:
        return _worker(observed, stable, release, options)
    fresh = options.baseline == "fresh"
    beside = baseline(observed, stable, release.size(observed.colour)) if fresh else ()
    away = (remove(stable.manifest, "baseline", stable.number),) if fresh else ()
    return Plan.make(
        release.service,
        "canary",
        stable.number,
        release.number,
        (
            *twin(observed, release),
            *beside,
            *_rise(observed, release, options),
            *settle(observed, release),
            *away,
        ),
        (*way_back(observed, release), *away),
    )

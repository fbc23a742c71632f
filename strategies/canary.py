"""Give the new release to a small part of the users, compare, raise the share step by step, promote or go back."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from deployer.manifest.units import BasisPoints, Seconds
from deployer.model import Observed, Release
from deployer.plan import Plan
from deployer.recipes import first_deploy, settle, share, twin, way_back
from deployer.steps import Approve, Step, Watch

PATIENCE = 10  # a step waits up to this many times its length for enough requests …
PATIENCE_SECONDS = 60.0  # … and at least this much longer


class Stage(BaseModel):
    """One share and how long it is watched."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    share: BasisPoints = Field(description="Part of the traffic, in percent.", gt=0, le=10000)
    seconds: Seconds | None = Field(None, alias="for", description="Time at this share; the option `for` if left out.")

    @model_validator(mode="before")
    @classmethod
    def _bare_number(cls, data: Any) -> Any:
        return data if isinstance(data, dict | Stage) else {"share": data}


class Options(BaseModel):
    """The shares of the traffic, and how long each is watched."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    percent: BasisPoints | None = Field(
        None, gt=0, le=10000, description="First share, in percent; the larger of `steps` follow."
    )
    steps: tuple[Stage, ...] = Field(
        (Stage(share=5), Stage(share=25), Stage(share=50)), min_length=1, description="Shares in percent, rising."
    )
    seconds: Seconds = Field(30.0, gt=0, alias="for", description="Time at each share.")
    hold: bool = Field(False, description="Stop at the first share until `deploy resume`, `promote` or `abort`.")

    @model_validator(mode="after")
    def _rising(self) -> Options:
        shares = [s.share for s in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError("the shares of `steps` must rise from step to step")
        return self

    def stages(self) -> tuple[Stage, ...]:
        """Give the stages that follow from `percent` and `steps`."""
        if self.percent is None:
            return self.steps
        first = next((s for s in self.steps if s.share == self.percent), Stage(share=self.percent / 100))
        return (first, *(s for s in self.steps if s.share > self.percent))


def _stage(observed: Observed, release: Release, stage: Stage, options: Options) -> tuple[Step, ...]:
    seconds = stage.seconds or options.seconds
    watch = Watch(
        seconds=seconds,
        share=stage.share,
        release=release.number,
        colour=observed.colour,
        requests=release.manifest.judge.requests,
        deadline=max(seconds * PATIENCE, seconds + PATIENCE_SECONDS),
    )
    return (share(stage.share), watch)


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan a canary: twin, rising shares with a watch at each, promotion."""
    stable = observed.stable
    if stable is None:
        return first_deploy(observed, release, "canary")
    stages = options.stages()
    steps: list[Step] = []
    for n, stage in enumerate(stages):
        steps += _stage(observed, release, stage, options)
        if options.hold and n == 0:
            steps.append(Approve(share=stage.share, deadline=60))
    return Plan.make(
        release.service,
        "canary",
        stable.number,
        release.number,
        (*twin(observed, release), *steps, *settle(observed, release)),
        way_back(observed, release),
    )

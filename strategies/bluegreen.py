"""Start the twin, switch everyone at once, watch, and keep the old environment warm."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from deployer.manifest.units import Seconds
from deployer.model import FULL, Observed, Release
from deployer.plan import Plan
from deployer.recipes import first_deploy, settle, share, twin, way_back
from deployer.steps import Watch


class Options(BaseModel):
    """How long the new release must hold before the switch is final."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bake: Seconds = Field(10.0, description="Time with all users on the new release before it is promoted; 0 for none.")


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan a switch of all users at once; until the promotion a bad answer rate takes everyone back."""
    stable = observed.stable
    if stable is None:
        return first_deploy(observed, release, "bluegreen")
    bake = (
        (
            share(FULL),
            Watch(
                seconds=options.bake,
                share=FULL,
                release=release.number,
                colour=observed.colour,
                deadline=options.bake + 10,
            ),
        )
        if options.bake
        else ()
    )
    return Plan.make(
        release.service,
        "bluegreen",
        stable.number,
        release.number,
        (*twin(observed, release), *bake, *settle(observed, release)),
        way_back(observed, release),
    )

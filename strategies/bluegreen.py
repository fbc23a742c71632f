"""Start the new environment, switch all traffic at once, observe, keep the old one warm."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from deployer.manifest.units import Seconds
from deployer.model import Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import bake, first_deploy, settle, twin, way_back


class Options(BaseModel):
    """How long the new release must hold before the switch is final."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bake: Seconds = Field(10.0, description="Time with all users on the new release before it is promoted; 0 for none.")


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan a switch of all users at once; until the promotion a failed response rate takes everyone back."""
    stable = observed.stable
    if stable is None:
        return first_deploy(observed, release, "bluegreen")
    return Plan.make(
        release.service,
        "bluegreen",
        stable.number,
        release.number,
        (*twin(observed, release), *bake(observed, release, options.bake), *settle(observed, release)),
        way_back(observed, release),
    )

"""Let the team try the new release first; everyone gets it when a person says so."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from deployer.manifest.units import BasisPoints, Seconds
from deployer.model import Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import first_deploy, settle, share, twin, way_back
from deployer.planning.steps import Approve, Watch


class Options(BaseModel):
    """Each field is an option of `deploy preview` and a key below `strategy: {preview: …}` in the manifest."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    # A share is written in percent by people and counted in basis points by the code.
    percent: BasisPoints = Field(0, ge=0, lt=10000, description="Users who get it before the team has tried it.")
    seconds: Seconds = Field(60.0, gt=0, alias="for", description="Time for which these users are watched.")


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan: the twin, a few users if wanted, a hold, the promotion. No I/O: a plan is data."""
    stable = observed.stable
    if stable is None:  # nobody is on anything yet, so there is nobody to spare
        return first_deploy(observed, release, "preview")
    watched = (
        share(options.percent),
        Watch(
            seconds=options.seconds,
            share=options.percent,
            release=release.number,
            colour=observed.colour,
            requests=release.manifest.judge.requests,  # fewer than these is `inconclusive`
            deadline=options.seconds + 60,  # every step has one
        ),
    )
    return Plan.make(
        service=release.service,
        strategy="preview",
        origin=stable.number,
        release=release.number,
        forward=(
            *twin(observed, release),  # start, health, update, known to the proxy, smoke tests
            *(watched if options.percent else ()),
            Approve(share=options.percent, deadline=60),
            *settle(observed, release),  # promote, keep the former environment warm, `after` hooks, prune
        ),
        back=way_back(observed, release),  # all users to stable, then drain and remove the candidate
        notes=("the team reaches the candidate with the header or cookie of `traffic.force`",),
    )

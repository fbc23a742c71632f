"""Replace instances batch by batch; traffic follows the number of new instances."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from deployer.manifest.units import Seconds
from deployer.model import FULL, Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import (
    attach,
    before,
    first_deploy,
    prove,
    remove,
    settle,
    share,
    start,
    watch_instances,
    way_back,
)
from deployer.planning.steps import Share, Step, Watch


class Options(BaseModel):
    """How many instances are replaced at a time."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    batch: int = Field(1, ge=1, le=100, description="Instances replaced at a time.")
    seconds: Seconds = Field(5.0, alias="for", description="Observation time for each batch; 0 for none.")


def plan(observed: Observed, release: Release, options: Options) -> Plan:
    """Plan a rolling replacement; at least one stable instance stays until the promotion."""
    stable = observed.stable
    if stable is None or observed.live is None:
        return first_deploy(observed, release, "rolling")
    wanted, here = release.size(observed.colour), stable.size(observed.live.stable)
    steps: list[Step] = [*before(observed, release)]
    done = 0
    while done < wanted:
        first, done = done == 0, min(done + options.batch, wanted)
        steps += start(release, observed.colour, done)
        steps += prove(release, observed.colour) if first else attach(release, observed.colour)
        steps += _move(observed, release, options, done)
        left = here - round(here * done / wanted)
        if 0 < left < here and done < wanted:
            steps.append(remove(stable.manifest, observed.live.stable, stable.number, keep=left))
    return Plan.make(
        release.service,
        "rolling",
        stable.number,
        release.number,
        (*steps, *settle(observed, release, warm=False)),
        _back(observed, release, stable),
        ("replaced instances are gone: after the promotion a rollback starts the former release again",),
    )


def _move(observed: Observed, release: Release, options: Options, done: int) -> tuple[Step, ...]:
    if not release.served:
        return (watch_instances(observed, release, done, options.seconds),) if options.seconds else ()
    points = FULL * done // release.size(observed.colour)
    watch = Watch(
        seconds=options.seconds,
        share=points,
        release=release.number,
        colour=observed.colour,
        deadline=options.seconds + 10,
    )
    return (share(points), watch) if options.seconds else (share(points),)


def _back(observed: Observed, release: Release, stable: Release) -> tuple[Step, ...]:
    """Users go to the stable instances that are left, then these become as many as they were."""
    way = way_back(observed, release)
    users, rest = [s for s in way if isinstance(s, Share)], [s for s in way if not isinstance(s, Share)]
    colour = observed.live.stable if observed.live else observed.colour
    return (*users, *start(stable, colour), *attach(stable, colour), *rest)

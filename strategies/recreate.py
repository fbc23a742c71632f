"""Stop the old release, then start the new one: for services of which two must never run at once. Users notice."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from deployer.model import Observed, Release
from deployer.plan import Plan
from deployer.recipes import attach, before, first_deploy, prove, remove, settle, share, start


class Options(BaseModel):
    """There is nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def plan(observed: Observed, release: Release, options: Options) -> Plan:  # noqa: ARG001 - the signature of a strategy
    """Plan a replacement with a gap: the old environment is gone before the new one starts."""
    stable = observed.stable
    if stable is None or observed.live is None:
        return first_deploy(observed, release, "recreate")
    new, old = observed.colour, observed.live.stable
    forward = (
        *before(observed, release),
        remove(stable.manifest, old, outage=True),
        *start(release, new),
        *prove(release, new),
        *settle(observed, release, warm=False),
    )
    back = (
        remove(release.manifest, new, release.number, outage=True),
        *start(stable, old),
        attach(stable, old),
        share(0),
    )
    return Plan.make(
        release.service,
        "recreate",
        stable.number,
        release.number,
        forward,
        back,
        ("users get 503 from the stop of the old release to the promotion of the new one",),
    )

"""Stop the old release, then start the new one, for services that must never run twice. Has downtime."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from deployer.model import Observed, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import first_deploy, replacement

SERVED = "users get 503 from the stop of the old release to the promotion of the new one"
WORKER = "nothing runs from the end of the old release to the start of the new one"


class Options(BaseModel):
    """Whether later releases may run beside this one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    once: bool = Field(False, description="Only for this deploy; later releases and rollbacks may run beside this one.")

    @property
    def alone(self) -> bool:
        """Promise that the release never runs beside another one, in a later rollback either."""
        return not self.once


def plan(observed: Observed, release: Release, options: Options) -> Plan:  # noqa: ARG001 - the signature of a strategy
    """Plan a replacement with a gap: the old environment is gone before the new one starts."""
    if not observed.standing - {observed.colour}:
        return first_deploy(observed, release, "recreate")
    forward, back = replacement(observed, release)
    return Plan.make(
        release.service,
        "recreate",
        observed.stable.number if observed.stable else 0,
        release.number,
        forward,
        back,
        (SERVED if release.served else WORKER,),
    )

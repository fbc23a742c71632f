"""The contract of a release: what it no longer needs goes, once no release before it is there, or may be. Pure."""

from __future__ import annotations

from dataclasses import replace

from deployer.core.clock import stamp
from deployer.core.errors import Refused
from deployer.model import Observed, Release, other
from deployer.planning.adjustment import AdjustmentPart, Kept, over, refuse_unclear
from deployer.planning.migration import migration_steps, out_of_sight
from deployer.planning.migration_steps import Discard
from deployer.planning.orders import CONTRACT
from deployer.planning.plan import Plan
from deployer.planning.recipes import approval


def contract_plan(observed: Observed, release: Release, kept: Kept | None, now: float, *, drop: bool) -> Plan:
    """Plan the contract of the live release; what was kept warm until now is removed first, with `drop` at once.

    Raise Refused where there is none, and while a former release is there, or may be.
    """
    migrate = release.manifest.migrate
    if migrate is None or not migrate.contract:
        raise Refused(f"{release.name} has no `migrate.contract`", "a contract is part of the release that is live")
    refuse_unclear(observed, release)
    stable = observed.live.stable if observed.live else "blue"
    gone = _gone(observed, release, kept, now, drop=drop)
    asked = (approval(migrate.approve, 0),) if migrate.approve else ()
    steps = tuple(migration_steps(release, stable, "contract"))
    left = tuple(step for step in steps if isinstance(step, Discard))
    why = (f"contract of {release.name}",)
    return Plan.adjusting(
        release.service, CONTRACT, release.number, (*asked, *gone.way, *steps), (*gone.back, *left), why
    )


def _gone(observed: Observed, release: Release, kept: Kept | None, now: float, *, drop: bool) -> AdjustmentPart:
    """Plan the removal of the former environment. Raise Refused where it may not go, or is not seen."""
    if observed.silent:
        raise Refused(*out_of_sight(observed.silent))
    stable = observed.live.stable if observed.live else "blue"
    former = observed.environment(other(stable))
    if former is None and observed.baseline is None:
        return AdjustmentPart()
    if former is None or kept is None or (kept.release, kept.colour) != (former.release, former.colour):
        there = " and ".join(f"r{e.release} ({e.colour})" for e in (former, observed.baseline) if e)
        raise Refused(f"{there} still runs beside {release.name}", "`deploy doctor --fix` removes what is left over")
    if kept.until > now and not drop:
        raise Refused(
            f"r{kept.release} ({kept.colour}) is kept warm for a rollback until {stamp(kept.until)}: after the contract"
            " it would not understand the database",
            "wait until then, or give up that rollback: `deploy migrate contract --drop-warm`",
        )
    return over(observed, release, replace(kept, until=now), now)

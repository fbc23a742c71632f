"""The migration of a release in plans: `expand` before its instances start, `contract` once no former one is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from deployer.core.clock import stamp
from deployer.core.errors import Refused
from deployer.model import Colour, Observed, Release, other
from deployer.planning.adjustment import AdjustmentPart, Kept, over, refuse_unclear
from deployer.planning.migration_steps import CHECK_SECONDS, Discard, Migrate
from deployer.planning.orders import CONTRACT
from deployer.planning.plan import Plan
from deployer.planning.recipes import START_SECONDS, approval
from deployer.planning.steps import Remove, Start, Step, named

if TYPE_CHECKING:
    from deployer.manifest.migrations import MigrationCommand


def with_expand(plan: Plan, release: Release) -> Plan:
    """Have a plan back up and expand before the first instance of its release starts, and before users have none.

    A rollback to the release has no such step: it was expanded when it was deployed.
    """
    migrate = release.manifest.migrate
    if migrate is None:
        return plan
    if migrate.contract:
        what = ", ".join(each.name for each in migrate.contract)
        later = f"`deploy migrate contract` runs {what} later, once no release before r{release.number} is there"
        plan = replace(plan, notes=(*plan.notes, later))
    if not migrate.expand:
        return plan
    first = next(n for n, step in enumerate(plan.forward) if _begins(step, release))
    steps = tuple(_steps(release, plan.colour, "expand"))
    left = tuple(step for step in steps if isinstance(step, Discard))
    return replace(plan, forward=(*plan.forward[:first], *steps, *plan.forward[first:]), back=(*plan.back, *left))


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
    steps = tuple(_steps(release, stable, "contract"))
    left = tuple(step for step in steps if isinstance(step, Discard))
    why = (f"contract of {release.name}",)
    return Plan.adjusting(
        release.service, CONTRACT, release.number, (*asked, *gone.way, *steps), (*gone.back, *left), why
    )


def out_of_sight(silent: Collection[str]) -> tuple[str, str]:
    """Return why nothing is contracted while hosts are unreachable, and what a person can do."""
    return (
        f"{named(tuple(silent))} is unreachable: a former release may run there",
        "wait until the host is reachable, or switch it off and take it out of the inventory",
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
        raise Refused(f"{there} is left beside {release.name}", "`deploy doctor --fix` removes what is left over")
    if kept.until > now and not drop:
        raise Refused(
            f"r{kept.release} ({kept.colour}) is kept warm until {stamp(kept.until)}, for a rollback that would meet"
            f" a database which it does not understand",
            "wait until then, or give up that rollback: `deploy migrate contract --drop-warm`",
        )
    return over(observed, release, replace(kept, until=now), now)


def _begins(step: Step, release: Release) -> bool:
    return (isinstance(step, Start) and step.release == release.number) or (isinstance(step, Remove) and step.outage)


def _steps(release: Release, colour: Colour, when: Literal["expand", "contract"]) -> Iterator[Step]:
    """Back up, apply each part, then remove what was started for it: how a command ended is known until then."""
    migrate = release.manifest.migrate
    if migrate is None:
        return
    steps = [_step(release, colour, when, each, each.check or ()) for each in getattr(migrate, when)]
    if migrate.backup:
        steps = [_step(release, colour, "backup", migrate.backup, ()), *steps]
    yield from steps
    if any(step.inside for step in steps):
        yield Discard(release=release.number, deadline=START_SECONDS)


def _step(
    release: Release,
    colour: Colour,
    when: Literal["backup", "expand", "contract"],
    each: MigrationCommand,
    check: tuple[str, ...],
) -> Migrate:
    return Migrate(
        when=when,
        playbooks=(each.playbook,) if each.playbook else (),
        release=release.number,
        colour=colour,
        run=each.run or (),
        inside=each.where == "instance",
        check=check,
        within=each.within,
        deadline=each.within + (2 * CHECK_SECONDS if check else 0),
    )

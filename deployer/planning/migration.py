"""The steps of a migration, and `expand` in the plan of a deploy: before the first instance of the release starts."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from deployer.model import Colour, Release
from deployer.planning.migration_steps import CHECK_SECONDS, Discard, Migrate
from deployer.planning.plan import Plan
from deployer.planning.recipes import START_SECONDS
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
    steps = tuple(migration_steps(release, plan.colour, "expand"))
    left = tuple(step for step in steps if isinstance(step, Discard))
    return replace(plan, forward=(*plan.forward[:first], *steps, *plan.forward[first:]), back=(*plan.back, *left))


def out_of_sight(silent: Collection[str]) -> tuple[str, str]:
    """Return why nothing is contracted while hosts are unreachable, and what a person can do."""
    return (
        f"{named(tuple(silent))} is unreachable: a former release may run there",
        "wait until the host is reachable, or switch it off and take it out of the inventory",
    )


def _begins(step: Step, release: Release) -> bool:
    return (isinstance(step, Start) and step.release == release.number) or (isinstance(step, Remove) and step.outage)


def migration_steps(release: Release, colour: Colour, when: Literal["expand", "contract"]) -> Iterator[Step]:
    """Back up, rehearse, apply each part, then remove what was started: how a command ended is known until then."""
    migrate = release.manifest.migrate
    if migrate is None:
        return
    steps = [_step(release, colour, when, each, each.check or ()) for each in getattr(migrate, when)]
    if migrate.rehearse:
        steps = [_step(release, colour, "rehearse", migrate.rehearse, ()), *steps]
    if migrate.backup:
        steps = [_step(release, colour, "backup", migrate.backup, ()), *steps]
    yield from steps
    if any(step.inside for step in steps):
        yield Discard(release=release.number, deadline=START_SECONDS)


def _step(
    release: Release,
    colour: Colour,
    when: Literal["backup", "rehearse", "expand", "contract"],
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

"""`rollback` and `down`: leaving a finished release, and leaving altogether."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from deployer.app.evictions import refuse_evicted
from deployer.app.migrations import refuse_contracting
from deployer.app.observe import observe
from deployer.app.operations.context import AppContext
from deployer.app.operations.control import FOLLOW_SECONDS, OTHERS_SECONDS, end_handover, make_way, stop
from deployer.app.operations.execution import begun, committed, hands, locked, run_of
from deployer.app.operations.late_rollback import ended_lately, under_way
from deployer.app.operations.proxy_recovery import refuse_lost, serve_again
from deployer.app.operations.reconcile import record_rollback
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, DriverFailed, HostsUnreachable, ImageGone, Locked, LockLost, Refused
from deployer.drivers.ports import Drivers, standing
from deployer.engine import RolloutResult, drive
from deployer.model import PLACES, Release
from deployer.planning.plan import Plan
from deployer.planning.recipes import with_consent
from deployer.planning.rollback import choose, played_since, rollback_plan
from deployer.planning.steps import Start, named
from deployer.store import AuditEntry, Rollout, person_of, whoami

PURPOSE = "rollback"  # so begins the purpose of the lock that one holds
NEVER_GOOD = frozenset({"new", "failed"})  # standings of releases that never got through


def rollback(
    house: AppContext,
    service: str,
    *,
    to: int | None = None,
    again: bool = False,
    force: bool = False,
    reason: str = "",
) -> RolloutResult:
    """Leave the live release for an earlier good one; a rollout in progress is rolled back instead.

    Without `to` or `again` nobody leaves what users have just been brought back to: a rollback that is in progress is
    followed to its end, and after one that ended lately nobody is moved.
    """
    refuse_evicted(house.store, service)
    meant, deadline = again or to is not None, Deadline.after(house.clock, OTHERS_SECONDS)
    _say_alone(house, service)
    hurried = False
    while True:
        make_way(house, service, "a rollback does not wait for it")
        try:
            if not meant and (ending := under_way(house, service)):
                return ending
            return _rollback(house, service, to=to, meant=meant, force=force, reason=reason)
        except LockLost:
            raise
        except Locked:
            hurried = hurried or end_handover(house, service, reason)
            held = house.store.locks.read(service)
            busy = held is not None and not held.purpose.startswith(PURPOSE)  # else a rollback is about to begin or end
            if deadline.passed() or (not hurried and (meant or busy)):
                raise
            house.clock.sleep(FOLLOW_SECONDS)  # whoever has it gives it back soon


def _rollback(
    house: AppContext, service: str, *, to: int | None, meant: bool, force: bool, reason: str
) -> RolloutResult:
    rollout = house.store.rollouts.in_progress(service)
    refuse_contracting(house.store, rollout)
    if rollout is not None and not committed(house, rollout):
        if ending := _leave_open(house, rollout, to, force=force, reason=reason):
            return ending
        rollout = None
    with locked(house, service, _purpose(house, service, to)) as lock:
        if rollout is not None:
            drive(run_of(house, lock, rollout))  # only tidying up was left
        record = house.store.services.get(service)
        if not record.stable and house.store.releases.of(service):
            raise Refused(f"no release of {service} is live", "`deploy up` deploys one")
        if not record.stable:
            raise Refused(f"{service} was never deployed", "there is no release to roll back to")
        current = house.store.releases.get(service, record.stable)
        drivers = house.drivers(current)
        serve_again(house, hands(house, lock, drivers), service)
        written = record_rollback(house, lock, drivers, service, reason) if to is None else None
        if written is not None and not meant:
            return written
        if not meant and (ending := ended_lately(house, service)):
            return ending
        if written is not None:
            current = house.store.releases.get(service, house.store.services.get(service).stable)
        target, plan = way_to(house, drivers, current, to, force=force)
        # The target may have stood on hosts that the current release does not know.
        rollout = house.store.rollouts.begin(lock, plan, Path.cwd(), whoami(), reason)
        return drive(begun(house, lock, house.drivers(target), rollout))


def way_to(
    house: AppContext, drivers: Drivers, current: Release, to: int | None, *, force: bool = False
) -> tuple[Release, Plan]:
    """Choose the release that a service goes back to from its current one, and plan the way. Raise Refused."""
    service = current.service
    observed = observe(house.store, drivers, service)
    refuse_lost(house, observed)
    releases, contracted = house.store.releases.of(service), house.store.services.get(service).contracted
    target = choose(releases, observed, current.number, to, force=force, contracted=contracted)
    if warning := played_since(releases, target.number, current.number):
        house.tell(service, warning)
    plan = rollback_plan(observed, target, current)
    _refuse_gone(house.drivers(target), plan, target)
    if target.status in NEVER_GOOD:  # nobody has vouched for it yet
        from deployer.app.operations.approvals import refuse_unanswerable

        plan = with_consent(plan, target.manifest.approve)
        refuse_unanswerable(plan, person_of(whoami()))
    return target, plan


def _leave_open(
    house: AppContext, rollout: Rollout, to: int | None, *, force: bool, reason: str
) -> RolloutResult | None:
    """Roll back a rollout in progress; return its ending, or None where `to` is to follow, under a lock that is free.

    Raise Refused, before users are moved at all, where it cannot follow.
    """
    service, origin = rollout.service, rollout.plan.origin
    going_on = ""
    if to is not None and to != origin:
        observed = observe(
            house.store, house.drivers(house.store.releases.get(service, origin or rollout.release)), service
        )
        contracted = house.store.services.get(service).contracted
        choose(house.store.releases.of(service), observed, origin, to, force=force, contracted=contracted)
        going_on = f", then to r{to}"
    house.tell(service, f"rollout {rollout.number} is in progress: rolling it back{going_on}")
    ending = stop(house, service, reason or "rollback")
    if not going_on or ending.outcome != "reverted":
        return ending
    # A process that drove it lets go of the lock a moment after its end.
    Deadline.after(house.clock, OTHERS_SECONDS).wait(lambda: house.store.locks.read(service) is None)
    return None


def _refuse_gone(drivers: Drivers, plan: Plan, target: Release) -> None:
    """Raise Refused, before anything is stopped, where the plan starts a release whose image or files are gone."""
    if not any(isinstance(step, Start) and step.release == target.number for step in plan.forward):
        return
    try:
        drivers.runtime.check_release(target)
    except ImageGone as gone:
        hint = f"{gone.hint}: `deploy rollback --to N`; `deploy history --releases` lists them"
        raise Refused(f"{target.name} cannot be started again, nothing was changed: {gone.message}", hint) from gone


def _say_alone(house: AppContext, service: str) -> None:
    """Warn that the others of the set by which a release came stay as they are."""
    stable = house.store.services.get(service).stable
    group = house.store.sets.of_release(service, stable) if stable else None
    if group is None or house.store.rollouts.in_progress(service) is not None:
        return
    others = named(tuple(member.service for member in group.members if member.service != service))
    text = f"r{stable} came with {group.title}: {service} is rolled back alone, and {others} not"
    house.tell(service, f"{text}; `deploy release rollback` rolls all of them back")


def _purpose(house: AppContext, service: str, to: int | None) -> str:
    stable = house.store.services.get(service).stable
    left = f" of r{stable} ({house.store.releases.get(service, stable).version})" if stable else ""
    return f"{PURPOSE}{left}" + (f" to r{to}" if to else "")


# -- down


def down(house: AppContext, service: str, reason: str = "") -> tuple[str, ...]:
    """Take a service off the proxy and remove all its instances; releases and history stay. Give what was removed."""
    make_way(house, service, "the service is taken down")
    with locked(house, service, "down") as lock:
        rollout = house.store.rollouts.in_progress(service)
        if rollout is not None:
            raise Refused(
                f"rollout {rollout.number} of {service} is in progress", "`deploy abort` or `deploy resume` first"
            )
        releases = house.store.releases.of(service)
        if not releases:
            raise Refused(f"{service} was never deployed", "`deploy status` lists what was")
        drivers = hands(house, lock, house.drivers(releases[0]))
        house.store.audit.record(AuditEntry("down", service, "begun", release=releases[0].number, reason=reason), lock)
        _withdraw(house, drivers, releases[0])
        removed = standing(drivers.runtime, service).instances
        for instance in removed:
            grace = house.store.releases.get(service, instance.release).manifest.stop.grace
            drivers.runtime.remove(instance, grace, Deadline.after(house.clock, grace + 30))
        left = standing(drivers.runtime, service)
        if left.instances:
            names = ", ".join(i.name for i in left.instances)
            raise DriverFailed(f"{names}: removed, but the runtime still shows it", "see `deploy doctor`")
        house.store.ports.free_others(lock, (), left.silent)
        if house.store.ports.of(service):
            raise HostsUnreachable(left.silent, removed)  # all but what may stand there is gone: to be called again
        house.store.services.taken_down(
            lock, f"removed: {', '.join(i.name for i in removed) or 'nothing was running'}", reason
        )
    return tuple(i.name for i in removed)


def _withdraw(house: AppContext, drivers: Drivers, release: Release) -> None:
    drain = release.manifest.stop.drain
    if drivers.traffic.read(release.service) is None:
        return
    for place in PLACES:
        names = [s.name for s, _ in drivers.traffic.servers(release.service, place)]
        if names:
            with suppress(DeployError):  # a broken proxy must not keep the instances alive
                drivers.traffic.drain(release.service, place, names, Deadline.after(house.clock, drain))
    drivers.traffic.forget(release.service, Deadline.after(house.clock, 30))
    if drivers.traffic.read(release.service) is not None:
        raise DriverFailed(f"the proxy still knows {release.service}, which it forgot", "see `deploy doctor`")

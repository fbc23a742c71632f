"""Rolling back several services that were released as one: all return to what they had before it."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.app.operations.control import (
    FOLLOW_LIMIT,
    FOLLOW_SECONDS,
    OTHERS_SECONDS,
    end_handover,
    follow,
    make_way,
    resume,
    stop,
)
from deployer.app.operations.execution import committed, hands
from deployer.app.operations.proxy_recovery import serve_again
from deployer.app.operations.reconcile import record_rollback
from deployer.app.operations.rollbacks import PURPOSE, way_to
from deployer.app.operations.sets import (
    Held,
    SetRequest,
    Way,
    ending_of,
    go_together,
    in_progress,
    lock_all,
    together,
)
from deployer.core.clock import Deadline
from deployer.core.errors import Abandoned, NothingInProgress, Refused
from deployer.engine import RolloutResult
from deployer.planning.plan import ROLLBACK
from deployer.planning.rollback import LATE_SECONDS
from deployer.planning.set_chain import chain_places
from deployer.planning.sets import with_meetings, worst
from deployer.planning.steps import named, span
from deployer.store import Lock
from deployer.store.sets import ReleaseSet
from deployer.transport.fanout import on_all

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext
    from deployer.model import Release


def rollback_set(house: AppContext, name: str, *, again: bool = False, reason: str = "") -> RolloutResult:
    """Take all services of the set that is live back to what they had before it; one in progress is rolled back."""
    newest = next(iter(house.store.sets.of(name, 1)), None)
    if newest is None:
        raise Refused(f"the set {name} was never released", "`deploy release up` releases it")
    if ending := _leave_open(house, newest, again=again, reason=reason):
        return ending
    if not again and (text := _lately(house, newest)):
        return RolloutResult.at_once(text)
    group, targets = way_back(house, name)
    for service in targets:
        make_way(house, service, "a rollback does not wait for it")
    with ExitStack() as held:
        locks = lock_all(house, held, dict.fromkeys(targets, f"{PURPOSE} of {group.title}"), name)
        for service in targets:
            _catch_up(house, locks[service].lock, service)
        _refuse_others(house, group)
        ways = {service: _way_back(house, locks[service], service, to) for service, to in targets.items()}
        places = chain_places(house.store.releases.get(service, to) for service, to in targets.items())
        plans = with_meetings({service: way.plan for service, way in ways.items()}, (), places)
        kept = {member.service: member.release for member in group.members if not member.rollout}
        wanted = SetRequest(name, (), (), ROLLBACK, reason)
        back = tuple(replace(way, plan=plans[service]) for service, way in ways.items())
        return go_together(house, wanted, back, kept)


def _leave_open(house: AppContext, newest: ReleaseSet, *, again: bool, reason: str) -> RolloutResult | None:
    """Bring a set in progress to its end; return that, or None where it is promoted by it, and can be left."""
    services = in_progress(house, newest)
    if not services:
        return None
    numbers = {member.service: member.rollout for member in newest.moved if member.service in services}
    if all(committed(house, house.store.rollouts.get(number)) for number in numbers.values()):
        house.tell(services[0], f"{newest.title} is promoted already: what is left of it is done first")
        answers = on_all(numbers, lambda number: _tidied(house, number, reason), len(numbers))
        return (
            None
            if worst(each.outcome for each in answers.all().values()) == "done"
            else ending_of(house, newest, answers)
        )
    if newest.strategy == ROLLBACK and not again:
        house.tell(services[0], f"{newest.title}, a rollback by {newest.started_by}, is in progress: following it")
        return together(house, newest, services, lambda service: _to_its_end(house, numbers[service]))
    house.tell(services[0], f"{newest.title} is in progress: rolling it back")
    why = reason or "rollback"
    return together(house, newest, services, lambda service: stop(house, service, why, number=numbers[service]))


def _to_its_end(house: AppContext, number: int) -> RolloutResult:
    """Follow a rollout to its end; go on with it where nobody runs it."""
    rollout = house.store.rollouts.get(number)
    if rollout.open and house.store.locks.read(rollout.service) is not None:
        with suppress(Abandoned):
            return follow(house, number, after=house.store.events.last_id_of(number))
    try:
        return resume(house, rollout.service, number=number)
    except NothingInProgress:
        return house.store.rollouts.get(number).result


def _tidied(house: AppContext, number: int, reason: str) -> RolloutResult:
    """Have a promoted rollout end without waiting for what it leaves open, and its lock be free."""
    rollout, limit = house.store.rollouts.get(number), Deadline.after(house.clock, FOLLOW_LIMIT)
    while house.store.rollouts.get(number).open and house.store.locks.read(rollout.service) is not None:
        if limit.passed() or house.stop.asked.is_set() or end_handover(house, rollout.service, reason):
            break
        house.clock.sleep(FOLLOW_SECONDS)
    ending = _to_its_end(house, number)
    # A process that ran it lets go of the lock a moment after its end.
    Deadline.after(house.clock, OTHERS_SECONDS).wait(lambda: house.store.locks.read(rollout.service) is None)
    return ending


def _catch_up(house: AppContext, lock: Lock, service: str) -> None:
    """Have the proxy serve a service, and record what was moved there without its record."""
    drivers = house.drivers(_live(house, service))
    serve_again(house, hands(house, lock, drivers), service)
    record_rollback(house, lock, drivers, service)


def _live(house: AppContext, service: str) -> Release:
    return house.store.releases.get(service, house.store.services.get(service).stable)


def _way_back(house: AppContext, held: Held, service: str, to: int) -> Way:
    current = _live(house, service)
    drivers = house.drivers(current)
    target, plan = way_to(house, drivers, current, to, force=True)  # it was live before the set, whatever its status
    return Way(held, house.drivers(target), plan, Path.cwd())


def _lately(house: AppContext, newest: ReleaseSet) -> str:
    """Return a sentence if the set was rolled back within the last minutes, so that nothing is changed; else ""."""
    rollouts = [house.store.rollouts.get(member.rollout) for member in newest.moved]
    ago = house.clock.now() - max(rollout.ended_at or 0.0 for rollout in rollouts)
    back = "done" if newest.strategy == ROLLBACK else "reverted"
    if ago > LATE_SECONDS or any(rollout.outcome != back for rollout in rollouts):
        return ""
    what = "was a rollback" if newest.strategy == ROLLBACK else "was rolled back"
    when = span(max(1, round(ago)))
    return f"nothing was changed: {newest.title} {what} {when} ago; `deploy release rollback --again` goes further back"


def _live_set(house: AppContext, name: str) -> ReleaseSet:
    """Return the set by which all of its services have what is live. Raise Refused, naming those that have not."""
    deploys = [group for group in house.store.sets.of(name) if group.strategy != ROLLBACK]
    for group in deploys:
        if not _others(house, group):
            return group
    newest = deploys[0]
    _refuse_others(house, newest)
    return newest


def _others(house: AppContext, group: ReleaseSet) -> list[str]:
    """Return the members of which a release is live that the set did not bring."""
    live = {member.service: house.store.services.get(member.service).stable for member in group.members}
    other = (member for member in group.members if live[member.service] != member.release)
    return [f"{m.service} has r{live[m.service]}, not r{m.release}" for m in other]


def _refuse_others(house: AppContext, group: ReleaseSet) -> None:
    if others := _others(house, group):
        raise Refused(
            f"{group.title} is not live as a whole: {', '.join(others)}",
            "roll back each service by itself: `deploy rollback --service NAME`",
        )


def way_back(house: AppContext, name: str) -> tuple[ReleaseSet, dict[str, int]]:
    """Return the set that is live, and what each of its services returns to. Raise Refused where they cannot."""
    group = _live_set(house, name)
    return group, _before(house, group)


def _before(house: AppContext, group: ReleaseSet) -> dict[str, int]:
    """Return which release each moved member had before a set. Raise Refused where one had none."""
    origins = {member.service: house.store.rollouts.get(member.rollout).origin for member in group.moved}
    if new := [service for service, origin in origins.items() if not origin]:
        raise Refused(
            f"there is nothing before {group.title} for {named(tuple(new))}: it was the first release",
            "roll back the others by themselves: `deploy rollback --service NAME`",
        )
    return dict(sorted(origins.items()))

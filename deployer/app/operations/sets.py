"""Several services as one release: their rollouts begin together, meet at gates, and end the same way.

A set is made of ordinary rollouts, each with its own lock, journal, plan and judge. What people ask of one of them
while it is in progress (promote, abort, pause, resume) is asked of all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.app.operations.control import follow, make_way, stop
from deployer.app.operations.deployment import DeployPlan, Prepared, clear_way, leave_live, prepare, propose, record
from deployer.app.operations.execution import begun, hands, locked
from deployer.app.operations.proxy_recovery import serve_again
from deployer.app.operations.reconcile import record_rollback
from deployer.app.operations.request_check import CheckedRequest, check
from deployer.app.operations.rollbacks import PURPOSE, way_to
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.drivers.ports import Drivers
from deployer.engine import Drive, RolloutResult, drive
from deployer.planning.plan import ROLLBACK, Plan
from deployer.planning.rollback import LATE_SECONDS
from deployer.planning.sets import with_meetings
from deployer.planning.steps import named, span
from deployer.store import Lock, whoami
from deployer.store.sets import MemberPlan, ReleaseSet
from deployer.transport.fanout import Answers, on_all

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext
    from deployer.app.operations.deploy_request import DeployRequest
    from deployer.model import Outcome, Release

WORST: tuple[Outcome, ...] = ("needs-attention", "reverted", "paused", "done")  # the first of them is that of all


@dataclass(frozen=True)
class SetRequest:
    """A release of several services as it is asked for: a deploy of each, and in which groups they get users."""

    name: str
    requests: tuple[DeployRequest, ...]
    groups: Sequence[Sequence[str]] = ()
    strategy: str = ""
    message: str = ""


@dataclass(frozen=True)
class _Held:
    """The lock of a member, and what gives it back: to be closed when its rollout ends, and once more is no harm."""

    lock: Lock
    until: ExitStack


@dataclass(frozen=True)
class _Way:
    """What a member is to do, with its lock and its drivers."""

    held: _Held
    drivers: Drivers
    plan: Plan
    folder: Path


# -- deploy


def propose_set(house: AppContext, wanted: SetRequest) -> tuple[DeployPlan, ...]:
    """Return what a release of a set would do to each service, with the gates in the plans; nothing is changed."""
    found = {each.plan.service: each for each in (propose(house, request) for request in wanted.requests)}
    plans = with_meetings({name: each.plan for name, each in found.items() if not each.same}, wanted.groups)
    return tuple(replace(each, plan=plans.get(name, each.plan)) for name, each in sorted(found.items()))


def deploy_set(house: AppContext, wanted: SetRequest) -> RolloutResult:
    """Bring out several services as one release: all are promoted, or all are rolled back.

    Raise Refused, before anything is started, where one of them cannot be deployed; Locked where it has another owner.
    """
    checked = _checked(house, wanted)
    for service in checked:
        clear_way(house, checked[service].request)
    with ExitStack() as held:
        locks = _locked(house, held, {service: each.purpose for service, each in checked.items()}, wanted.name)
        prepared = {service: prepare(house, locks[service].lock, each) for service, each in checked.items()}
        live = {service: each for service, each in prepared.items() if each.live}
        for service, each in live.items():
            house.tell(service, leave_live(house, each))
        moved = {service: each for service, each in prepared.items() if not each.live}
        if not moved:
            return RolloutResult("done", Exit.DONE, f"all of {wanted.name} is live already: nothing to do", 0)
        for each in moved.values():
            record(house, each)
        plans = with_meetings({service: each.proposal.plan for service, each in moved.items()}, wanted.groups)
        ways = tuple(_way(each, locks[service], plans[service]) for service, each in moved.items())
        stays = {service: each.proposal.observed.stable for service, each in live.items()}
        kept = {service: release.number for service, release in stays.items() if release}
        return _go(house, replace(wanted, strategy=wanted.strategy or ways[0].plan.strategy), ways, kept)


def _way(prepared: Prepared, held: _Held, plan: Plan) -> _Way:
    return _Way(held, prepared.drivers, plan, prepared.request.loaded.folder)


def _checked(house: AppContext, wanted: SetRequest) -> dict[str, CheckedRequest]:
    """Return the requests that are in order, by service. Raise Refused with what is wrong with any of them."""
    checked, wrong = {}, list[Refused]()
    for request in sorted(wanted.requests, key=lambda request: request.loaded.manifest.service):
        try:
            found = check(house, request)
        except Refused as error:
            wrong.append(error)
        else:
            checked[found.service] = found
    if wrong:
        raise Refused(f"{wanted.name} cannot be released:\n" + "\n".join(str(each) for each in wrong))
    return checked


def _locked(house: AppContext, held: ExitStack, purposes: Mapping[str, str], name: str) -> dict[str, _Held]:
    """Take the locks of all members, in one order for everybody. Raise Locked where one of them has another owner."""
    taken = {}
    for service in sorted(purposes):
        until = held.enter_context(ExitStack())
        lock = until.enter_context(locked(house, service, f"{purposes[service]}, in the set {name}"))
        taken[service] = _Held(lock, until)
    return taken


# -- rollback


def rollback_set(house: AppContext, name: str, *, again: bool = False, reason: str = "") -> RolloutResult:
    """Take all services of the set that is live back to what they had before it; one in progress is rolled back."""
    newest = next(iter(house.store.sets.of(name, 1)), None)
    if newest is None:
        raise Refused(f"the set {name} was never released", "`deploy release up` releases it")
    if open_ones := in_progress(house, newest):
        house.tell(open_ones[0], f"{newest.title} is in progress: rolling it back")
        return together(house, newest, open_ones, lambda service: stop(house, service, reason or "rollback"))
    if not again and (text := _lately(house, newest)):
        return RolloutResult("done", Exit.DONE, text, 0)
    group = _live_set(house, name)
    targets = _before(house, group)
    for service in targets:
        make_way(house, service, "a rollback does not wait for it")
    with ExitStack() as held:
        locks = _locked(house, held, dict.fromkeys(targets, f"{PURPOSE} of {group.title}"), name)
        for service in targets:
            _catch_up(house, locks[service].lock, service)
        _refuse_others(house, group)
        ways = {service: _way_back(house, locks[service], service, to) for service, to in targets.items()}
        plans = with_meetings({service: way.plan for service, way in ways.items()})
        kept = {member.service: member.release for member in group.members if not member.rollout}
        wanted = SetRequest(name, (), (), ROLLBACK, reason)
        return _go(house, wanted, tuple(replace(way, plan=plans[way.plan.service]) for way in ways.values()), kept)


def _catch_up(house: AppContext, lock: Lock, service: str) -> None:
    """Have the proxy serve a service, and record what was moved there without its record."""
    drivers = house.drivers(_live(house, service))
    serve_again(house, hands(house, lock, drivers), service)
    record_rollback(house, lock, drivers, service)


def _live(house: AppContext, service: str) -> Release:
    return house.store.releases.get(service, house.store.services.get(service).stable)


def _way_back(house: AppContext, held: _Held, service: str, to: int) -> _Way:
    current = _live(house, service)
    drivers = house.drivers(current)
    target, plan = way_to(house, drivers, current, to, force=True)  # it was live before the set, whatever its status
    return _Way(held, house.drivers(target), plan, Path.cwd())


def _lately(house: AppContext, newest: ReleaseSet) -> str:
    """Say that nothing is changed, as the set was rolled back within the last minutes; "" where it was not."""
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
    """Say of which members another release is live than the set brought."""
    live = {member.service: house.store.services.get(member.service).stable for member in group.members}
    other = (member for member in group.members if live[member.service] != member.release)
    return [f"{m.service} has r{live[m.service]}, not r{m.release}" for m in other]


def _refuse_others(house: AppContext, group: ReleaseSet) -> None:
    if others := _others(house, group):
        raise Refused(
            f"{group.title} is not live as a whole: {', '.join(others)}",
            "roll back each service by itself: `deploy rollback --service NAME`",
        )


def _before(house: AppContext, group: ReleaseSet) -> dict[str, int]:
    """Return which release each moved member had before a set. Raise Refused where one had none."""
    origins = {member.service: house.store.rollouts.get(member.rollout).origin for member in group.moved}
    if new := [service for service, origin in origins.items() if not origin]:
        raise Refused(
            f"there is nothing before {group.title} for {named(tuple(new))}: it was the first release",
            "roll back the others by themselves: `deploy rollback --service NAME`",
        )
    return dict(sorted(origins.items()))


# -- while it is in progress


def in_progress(house: AppContext, group: ReleaseSet) -> tuple[str, ...]:
    """Return the services of a set whose rollout has not ended."""
    return tuple(m.service for m in group.moved if house.store.rollouts.get(m.rollout).open)


def together(
    house: AppContext, group: ReleaseSet, services: Sequence[str], do: Callable[[str], RolloutResult]
) -> RolloutResult:
    """Do the same with several members of a set at the same time; return how the set ended by that."""
    return _ending(house, group, on_all({service: service for service in services}, do, len(services)))


def follow_set(house: AppContext, name: str) -> RolloutResult:
    """Show the events of all rollouts of the set in progress until they end or are paused; return how."""
    newest = next(iter(house.store.sets.of(name, 1)), None)
    services = in_progress(house, newest) if newest else ()
    if newest is None or not services:
        raise Refused(f"no release of {name} is in progress", "`deploy release history` lists the finished ones")
    numbers = {member.service: member.rollout for member in newest.moved}
    return together(house, newest, services, lambda service: follow(house, numbers[service]))


def _go(house: AppContext, wanted: SetRequest, ways: Sequence[_Way], kept: Mapping[str, int]) -> RolloutResult:
    """Record the set with its rollouts, and run all of them to their end.

    A member that ends or pauses gives its lock back at once: by that the others see that nobody runs it.
    """
    plans = [MemberPlan(way.held.lock, way.plan, way.folder) for way in ways]
    group = house.store.sets.begin(wanted.name, wanted.strategy, plans, kept, whoami(), wanted.message)
    numbers = {member.service: member.rollout for member in group.moved}
    runs: dict[str, tuple[_Held, Drive]] = {}
    for way in ways:
        rollout = house.store.rollouts.get(numbers[way.plan.service])
        runs[way.plan.service] = way.held, begun(house, way.held.lock, way.drivers, rollout)
    return _ending(house, group, on_all(runs, _driven, len(runs)))


def _driven(member: tuple[_Held, Drive]) -> RolloutResult:
    held, run = member
    with held.until:
        return drive(run)


def _ending(house: AppContext, group: ReleaseSet, answers: Answers[str, RolloutResult]) -> RolloutResult:
    """Return the ending of a set: that of the member which ended worst, with what it means for the others."""
    results = answers.all()
    outcome = next(word for word in WORST if any(each.outcome == word for each in results.values()))
    same = {service: each for service, each in results.items() if each.outcome == outcome}
    code = max(each.exit for each in same.values())
    group = house.store.sets.get(group.number)
    match outcome:
        case "done":
            text = f"{group.title} is live: {_versions(house, group)}"
        case "reverted":
            text, code = _reverted(house, group, results), _code(group, same)
        case _:
            text = "; ".join(f"{service}: {each.text}" for service, each in same.items())
    said = {"outcome": outcome, "exit": int(code), "text": text, "culprit": group.culprit}
    rollouts = {member.service: member.rollout for member in group.moved}
    told = {"set": group.number, "name": group.name, **said, "rollouts": rollouts}
    house.sink(Event("set.ended", house.clock.now(), "", 0, told))
    return RolloutResult(outcome, Exit(code), text, 0)


def _code(group: ReleaseSet, same: Mapping[str, RolloutResult]) -> Exit:
    """Return the exit code of a set that was rolled back: that of its cause, or 0 where it was aborted on request."""
    if all(each.exit is Exit.DONE for each in same.values()):
        return Exit.DONE
    return next((each.exit for service, each in same.items() if service == group.culprit), Exit(group.exit))


def _reverted(house: AppContext, group: ReleaseSet, results: Mapping[str, RolloutResult]) -> str:
    others = tuple(sorted(service for service in results if service != group.culprit))
    with_it = f"; {named(others)} {'was' if len(others) == 1 else 'were'} rolled back with it" if others else ""
    failed = [f"{s} {said}" for s in others if (said := _failed(house, results[s].rollout))]
    too = f" (their candidates failed, too: {', '.join(failed)})" if failed else ""
    return f"{group.title} was rolled back: {group.culprit}: {group.cause}{with_it}{too}"


def _failed(house: AppContext, rollout: int) -> str:
    """Say how many responses of a candidate failed in its last analysis; "" where no more than those of stable."""
    last = next((e for e in reversed(house.store.events.of(rollout)) if e.kind == "verdict"), None)
    watched = last.data.get("watched", {}) if last else {}
    candidate, stable = (watched.get(side) or {} for side in ("candidate", "stable"))
    errors, requests = candidate.get("errors", 0), candidate.get("requests", 0)
    if errors * max(stable.get("requests", 0), 1) <= stable.get("errors", 0) * max(requests, 1):
        return ""
    return f"{errors:,} of {requests:,}"


def _versions(house: AppContext, group: ReleaseSet) -> str:
    found = ((m.service, house.store.releases.get(m.service, m.release)) for m in group.members)
    return ", ".join(f"{service} {release.name}" for service, release in found)

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

from deployer.app.operations.control import follow, resume
from deployer.app.operations.deployment import DeployPlan, Prepared, clear_way, leave_live, prepare, propose, record
from deployer.app.operations.execution import begun, locked
from deployer.app.operations.guest_keeping import make_room
from deployer.app.operations.request_check import CheckedRequest, check
from deployer.core.errors import Locked, NoSetInProgress, NothingInProgress, Refused
from deployer.drivers.ports import Drivers
from deployer.engine import Drive, RolloutResult, drive, set_ending
from deployer.planning.orders import UNFOLLOWED
from deployer.planning.plan import Plan
from deployer.planning.set_chain import chain_places
from deployer.planning.sets import with_meetings
from deployer.store import Lock, whoami
from deployer.store.sets import MemberPlan, ReleaseSet
from deployer.transport.fanout import Answers, on_all

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext
    from deployer.app.operations.deploy_request import DeployRequest


@dataclass(frozen=True)
class SetRequest:
    """A release of several services as it is asked for: a deploy of each, and in which groups they get users."""

    name: str
    requests: tuple[DeployRequest, ...]
    groups: Sequence[Sequence[str]] = ()
    strategy: str = ""
    message: str = ""


@dataclass(frozen=True)
class Held:
    """The lock of a member, and what gives it back: to be closed when its rollout ends, and once more is no harm."""

    lock: Lock
    until: ExitStack


@dataclass(frozen=True)
class Way:
    """What a member is to do, with its lock and its drivers."""

    held: Held
    drivers: Drivers
    plan: Plan
    folder: Path


# -- deploy


def propose_set(house: AppContext, wanted: SetRequest) -> tuple[DeployPlan, ...]:
    """Return what a release of a set would do to each service, with the gates in the plans; nothing is changed."""
    found = {each.plan.service: each for each in (propose(house, request) for request in wanted.requests)}
    moved = {name: each for name, each in found.items() if not each.same}
    plans = _woven(moved, wanted)
    return tuple(replace(each, plan=plans.get(name, each.plan)) for name, each in sorted(found.items()))


def deploy_set(house: AppContext, wanted: SetRequest) -> RolloutResult:
    """Bring out several services as one release: all are promoted, or all are rolled back.

    Raise Refused, before anything is started, where one of them cannot be deployed; Locked where it has another owner.
    """
    checked = _checked(house, wanted)
    for service in checked:
        clear_way(house, checked[service].request)
    with ExitStack() as held:
        locks = lock_all(house, held, {service: each.purpose for service, each in checked.items()}, wanted.name)
        prepared = {service: prepare(house, locks[service].lock, each) for service, each in checked.items()}
        live = {service: each for service, each in prepared.items() if each.live}
        for service, each in live.items():
            house.tell(service, leave_live(house, each))
        moved = {service: each for service, each in prepared.items() if not each.live}
        if not moved:
            return RolloutResult.at_once(f"all of {wanted.name} is live already: nothing to do")
        plans = _woven({service: each.proposal for service, each in moved.items()}, wanted)
        begin = [(each.proposal.release, plans[service]) for service, each in moved.items()]
        make_room(house, f"the set {wanted.name}", begin)
        for each in moved.values():
            record(house, each)
        ways = tuple(_way(each, locks[service], plans[service]) for service, each in moved.items())
        stays = {service: each.proposal.observed.stable for service, each in live.items()}
        kept = {service: release.number for service, release in stays.items() if release}
        return go_together(house, replace(wanted, strategy=wanted.strategy or ways[0].plan.strategy), ways, kept)


def _woven(moved: Mapping[str, DeployPlan], wanted: SetRequest) -> dict[str, Plan]:
    """Return the plans of a set with their gates."""
    places = chain_places(each.release for each in moved.values())
    return with_meetings({service: each.plan for service, each in moved.items()}, wanted.groups, places)


def _way(prepared: Prepared, held: Held, plan: Plan) -> Way:
    return Way(held, prepared.drivers, plan, prepared.request.loaded.folder)


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


def lock_all(house: AppContext, held: ExitStack, purposes: Mapping[str, str], name: str) -> dict[str, Held]:
    """Take the locks of all members, in one order for everybody. Raise Locked where one of them has another owner."""
    taken = {}
    for service in sorted(purposes):
        until = held.enter_context(ExitStack())
        lock = until.enter_context(locked(house, service, f"{purposes[service]}, in the set {name}"))
        taken[service] = Held(lock, until)
    return taken


# -- while it is in progress


def in_progress(house: AppContext, group: ReleaseSet) -> tuple[str, ...]:
    """Return the services of a set whose rollout has not ended."""
    return tuple(m.service for m in group.moved if house.store.rollouts.get(m.rollout).open)


def together(
    house: AppContext, group: ReleaseSet, services: Sequence[str], do: Callable[[str], RolloutResult]
) -> RolloutResult:
    """Do the same with several members of a set at the same time; return how the set ended by that."""
    answers = on_all({service: service for service in services}, do, len(services))
    gone = [service for service, error in answers.failed.items() if isinstance(error, NothingInProgress)]
    rollouts = {m.service: house.store.rollouts.get(m.rollout) for m in group.moved}
    ended = {service: each.result for service, each in rollouts.items() if service in gone or not services}
    failed = {service: error for service, error in answers.failed.items() if service not in ended}
    return ending_of(house, group, _all_back(house, group, Answers({**answers.ok, **ended}, failed)))


def _all_back(
    house: AppContext, group: ReleaseSet, answers: Answers[str, RolloutResult]
) -> Answers[str, RolloutResult]:
    """Take up those that were paused when another one turned the set back: they go back, too."""
    if house.store.sets.decided(group.number) != "back" or (house.stop.asked.is_set() and house.stop.detach):
        return answers
    paused = {service for service, each in answers.ok.items() if each.outcome == "paused"}
    members = {member.service: member for member in group.moved if member.service in paused}
    again = on_all(members, lambda each: resume(house, each.service, number=each.rollout), len(members))
    overtaken = (Locked, NothingInProgress)  # somebody else has taken it up meanwhile
    failed = {service: error for service, error in again.failed.items() if not isinstance(error, overtaken)}
    return Answers({**answers.ok, **again.ok}, {**answers.failed, **failed})


def follow_set(house: AppContext, name: str) -> RolloutResult:
    """Show the events of all rollouts of the set in progress until they end or are paused; return how."""
    newest = next(iter(house.store.sets.of(name, 1)), None)
    services = in_progress(house, newest) if newest else ()
    if newest is None or not services:
        raise NoSetInProgress(name)
    numbers = {member.service: member.rollout for member in newest.moved if member.service in services}
    answers = on_all(numbers, lambda number: follow(house, number), len(numbers))
    return UNFOLLOWED if house.stop.asked.is_set() else ending_of(house, newest, answers)


def go_together(house: AppContext, wanted: SetRequest, ways: Sequence[Way], kept: Mapping[str, int]) -> RolloutResult:
    """Record the set with its rollouts, and run all of them to their end.

    A member that ends or pauses gives its lock back at once: by that the others see that nobody runs it.
    """
    plans = [MemberPlan(way.held.lock, way.plan, way.folder) for way in ways]
    group = house.store.sets.begin(wanted.name, wanted.strategy, plans, kept, whoami(), wanted.message)
    numbers = {member.service: member.rollout for member in group.moved}
    runs: dict[str, tuple[Held, Drive]] = {}
    for way in ways:
        rollout = house.store.rollouts.get(numbers[way.plan.service])
        runs[way.plan.service] = way.held, begun(house, way.held.lock, way.drivers, rollout)
    return ending_of(house, group, _all_back(house, group, on_all(runs, _driven, len(runs))))


def _driven(member: tuple[Held, Drive]) -> RolloutResult:
    held, run = member
    with held.until:
        return drive(run)


def ending_of(house: AppContext, group: ReleaseSet, answers: Answers[str, RolloutResult]) -> RolloutResult:
    """Return the ending of a set: that of the member which ended worst, with what it means for the others."""
    return set_ending.ending(house.store, group, answers.all())

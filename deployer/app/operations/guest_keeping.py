"""What guests need between deploys: those whose owner needs their memory go, and come back when there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployer.app.evictions import eviction
from deployer.app.guest_account import GuestAccount
from deployer.app.operations.context import AppContext
from deployer.app.operations.evict import AT_ONCE, admit_one, evict_one
from deployer.app.operations.guests import guests
from deployer.app.pauses import COUNTED, not_before
from deployer.core.errors import DeployError, Locked, Refused
from deployer.drivers.ports.guests import GuestUse
from deployer.engine import RolloutResult
from deployer.model import Release
from deployer.planning.guest_keeping import GuestMove, SeenGuest, leaving, moves
from deployer.planning.plan import Plan
from deployer.planning.steps import Start
from deployer.store import DEPLOYER
from deployer.transport.fanout import Answers, on_all


def see_to(
    house: AppContext,
    ours: Collection[str],
    say: Callable[[RolloutResult], object],
    frozen: Callable[[str, str], None] = lambda _host, _text: None,
) -> None:
    """Do what is due of guests among these services, and `say` how it ended.

    What hosts have frozen by themselves is left to them: `frozen` gets each host and what it says of that, "" for
    nothing. Raise the first trouble, but that others are at work, once all was tried: a host that is silent, or a bill
    that cannot be written, keeps no guest where its owner needs the memory.
    """
    live = [release for release in guests(house) if release.service in ours]
    if not live:
        return
    seen, room, trouble = _seen(house, live)
    for host, text in {host: use.watch.frozen for each in seen for host, use in each.whole.items()}.items():
        frozen(host, text)
    use = {(each.tenant, host): use for each in seen for host, use in each.whole.items()}
    try:
        GuestAccount(house.store.folder).add(use, house.clock.now())
    except DeployError as error:
        trouble.append(error)
    came = _done(house, live, moves([each.guest for each in seen], room, house.clock.now()))
    for ended in came.ok.values():
        if ended is not None:
            say(ended)
    for first in (*trouble, *came.failed.values()):
        raise first


def make_room(house: AppContext, whose: str, begin: Sequence[tuple[Release, Plan]], running: int = 0) -> None:
    """Have guests go before instances of their owner are started, of these services together, whose memory is not
    there; `whose` is the service or the set that needs it.

    The need is known where manifests limit it; `running` of the instances are there already. What goes wrong is told:
    the owner's instances are started all the same.
    """
    need = Counter[str]()
    for release, plan in begin:
        need.update(_needed(release, plan, running))
    if not need or not (live := guests(house)):
        return
    try:
        seen, room, trouble = _seen(house, live)
        here = {host: bytes_ for host, bytes_ in room.items() if host in need}
        _done(house, live, leaving([each.guest for each in seen], here, need, whose)).all()
        for error in trouble:
            raise error
    except DeployError as error:
        for release, _ in begin:
            house.tell(release.service, f"guests could not make room: {error}")


def _needed(release: Release, plan: Plan, running: int) -> dict[str, int]:
    """Return how many bytes of memory a plan takes on each host, as far as the manifest says; a guest makes no room."""
    limit = release.manifest.limits.memory
    starts = [step for step in plan.forward if isinstance(step, Start)]
    more = sum(step.instances for step in starts) - running
    if release.manifest.tenant or not limit or more <= 0:
        return {}
    hosts = {host for step in starts for host in step.hosts} or {""}
    return dict.fromkeys(hosts, limit * -(-more // len(hosts)))


def _done(house: AppContext, live: Iterable[Release], due: Iterable[GuestMove]) -> Answers[str, RolloutResult | None]:
    by_name = {release.service: release for release in live}

    def do(move: GuestMove) -> RolloutResult | None:
        try:
            if move.what == "evict":
                return evict_one(house, by_name[move.service], move.why, DEPLOYER)
            return admit_one(house, move.service, move.why, DEPLOYER)
        except Locked:
            return None  # somebody else is at work: it is looked at again

    return on_all({move.service: move for move in due}, do, AT_ONCE)


@dataclass(frozen=True)
class _Seen:
    """A guest, with all that its tenant uses on each host."""

    guest: SeenGuest
    whole: Mapping[str, GuestUse]

    @property
    def tenant(self) -> str:
        return self.guest.tenant


def _seen(house: AppContext, live: Iterable[Release]) -> tuple[list[_Seen], dict[str, int], list[DeployError]]:
    """Return the guests, the bytes that hosts can still give, and why some guests could not be looked at."""
    seen, room, trouble = list[_Seen](), dict[str, int](), list[DeployError]()
    for release in live:
        terms, found = release.terms, eviction(house.store, release.service)
        drivers = house.drivers(release)
        if terms is None or drivers.guests is None:
            continue
        try:
            room |= drivers.guests.room()
            use = {} if found else dict(drivers.guests.use(terms))
        except DeployError as error:
            trouble.append(error)
            continue
        rollouts = house.store.rollouts.of(release.service, COUNTED, adjustments=True) if found else ()
        guest = SeenGuest(
            service=release.service,
            tenant=terms.tenant,
            hosts=tuple(host.name for host in release.fleet) or ("",),
            memory=terms.memory,
            reserve=terms.reserve,
            use={host: each.memory for host, each in use.items()},
            stopped=next(
                (f"{host or 'this host'} stopped it {u.watch.stopped}" for host, u in use.items() if u.watch.stopped),
                "",
            ),
            refused=_refused(terms.file, terms.tenant, house.clock.now()),
            evicted=found.at if found else 0.0,
            by_person=found.by_person if found else False,
            until=found.until if found else 0.0,
            not_before=not_before(rollouts),
        )
        seen.append(_Seen(guest, use))
    return seen, room, trouble


def _refused(file: str, tenant: str, now: float) -> str:
    """Return why terms, as they are now, do not let a tenant run; a file that cannot be read changes nothing."""
    from deployer.manifest import tenants

    try:
        own = tenants.read(Path(file)).tenants.get(tenant)
    except Refused:
        return ""
    return own.refused_at(now) if own else f"{file} has no tenant {tenant} any more"

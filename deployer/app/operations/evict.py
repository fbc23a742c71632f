"""Guests have to go, and may come back: adjustments like any other, under the locks of their services."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from deployer.app.due import due
from deployer.app.evictions import Eviction, eviction, refuse_evicted
from deployer.app.observe import live_release, observe
from deployer.app.operations.context import AppContext
from deployer.app.operations.control import make_way, refuse_open, resume, stop, stop_running
from deployer.app.operations.execution import ADJUSTING, begun, committed, locked
from deployer.app.operations.guests import guests
from deployer.app.operations.port_capacity import refuse_crowded
from deployer.core.errors import HostsUnreachable, NothingInProgress, Refused
from deployer.engine import RolloutResult, drive
from deployer.model import COLOURS, Release
from deployer.planning.adjustment import admitting, evicting
from deployer.planning.orders import ADMIT
from deployer.planning.steps import named
from deployer.planning.tenancy import nobody
from deployer.store import whoami
from deployer.transport.fanout import on_all

AT_ONCE = 20  # services


def evict(
    house: AppContext, tenant: str, reason: str, *, now: bool = False, seconds: float = 0.0
) -> tuple[RolloutResult, ...]:
    """Evict the guests of a tenant ("" for all), all at the same time, for so many seconds (0: until they are let in).

    Each instance is frozen at once, and has what its terms say to end, or nothing with `now`. Raise Refused where there
    are none; else the worst of what went wrong, once all were tried. Whom the keeper has evicted stays away, too.
    """
    known = [(release, eviction(house.store, release.service)) for release in _meant(house, tenant)]
    meant = [release for release, found in known if found is None or not found.by_person]
    if not meant:
        raise nobody(tenant, "runs")
    until = house.clock.now() + seconds if seconds else 0.0
    return _each(meant, lambda release: evict_one(house, release, reason, whoami(), now=now, until=until))


def evict_service(
    house: AppContext, service: str, reason: str, *, now: bool = False, seconds: float = 0.0
) -> RolloutResult:
    """Evict one guest, as `evict` does. Raise Refused for what is none, and for one that somebody has evicted."""
    release, found = _guest(house, service), eviction(house.store, service)
    if found is not None and found.by_person:
        refuse_evicted(house.store, service)
    until = house.clock.now() + seconds if seconds else 0.0
    return evict_one(house, release, reason, whoami(), now=now, until=until)


def admit_service(house: AppContext, service: str, reason: str) -> RolloutResult:
    """Let one guest come back, as `admit` does. Raise Refused for what is none, and for one that is not evicted."""
    _guest(house, service)
    if not eviction(house.store, service):
        raise Refused(f"{service} is not evicted", "`deploy guests` lists them")
    if (ended := admit_one(house, service, reason, whoami())) is None:
        raise _unstarted((service,))
    return ended


def admit(house: AppContext, tenant: str, reason: str) -> tuple[RolloutResult, ...]:
    """Let the guests of a tenant ("" for all) come back that were evicted. Raise Refused where none of them can."""
    meant = [release for release in _meant(house, tenant) if eviction(house.store, release.service)]
    if not meant:
        raise nobody(tenant, "is evicted")
    ended = _each(meant, lambda release: admit_one(house, release.service, reason, whoami()))
    if not ended:
        raise _unstarted(tuple(release.service for release in meant))
    return ended


def evicted(house: AppContext) -> tuple[Eviction, ...]:
    """Return the evictions that stand."""
    found = (eviction(house.store, release.service) for release in guests(house))
    return tuple(each for each in found if each)


def evict_one(
    house: AppContext, release: Release, reason: str, by: str, *, now: bool = False, until: float = 0.0
) -> RolloutResult:
    """Evict a guest; a rollout of it in progress is rolled back first. Raise HostsUnreachable where nothing is seen."""
    service = release.service
    make_way(house, service, "it is evicted")
    stop_running(house, service, reason)
    if (left := house.store.rollouts.in_progress(service)) is not None:  # by a process that is dead
        with suppress(NothingInProgress):  # somebody else has ended it just now
            resume(house, service) if committed(house, left) else stop(house, service, reason)
    with locked(house, service, f"{ADJUSTING} what runs: evicted") as lock:
        refuse_open(house, service)
        release = live_release(house.store, service)
        drivers = house.drivers(release)
        grace = 0.0 if now or release.terms is None else min(release.manifest.stop.grace, release.terms.evict)
        observed = observe(house.store, drivers, service)
        if observed.silent and not any(map(observed.environment, COLOURS)):
            raise HostsUnreachable(observed.silent)  # what runs there is not evicted by a word
        plan = evicting(observed, release, grace, until, reason)
        rollout = house.store.rollouts.begin(lock, plan, Path.cwd(), by, reason)
        return drive(begun(house, lock, drivers, rollout))


def admit_one(house: AppContext, service: str, reason: str, by: str) -> RolloutResult | None:
    """Start what was evicted again, and give it users once it is healthy."""
    with locked(house, service, f"{ADJUSTING} what runs: let in") as lock:
        refuse_open(house, service)
        release = live_release(house.store, service)
        drivers = house.drivers(release)
        observed = observe(house.store, drivers, service)
        plan = due(house, drivers, release, observed, ADMIT)
        if plan is None:
            return None
        plan = admitting(plan, observed, release.manifest.stop.grace)
        refuse_crowded(house, plan, observed)
        rollout = house.store.rollouts.begin(lock, plan, Path.cwd(), by, reason)
        return drive(begun(house, lock, drivers, rollout))


def _guest(house: AppContext, service: str) -> Release:
    """Return the live release of a guest. Raise Refused for what is none."""
    release = live_release(house.store, service)
    if not release.manifest.tenant:
        raise Refused(f"{service} is no guest", "`deploy guests` lists them")
    return release


def _unstarted(services: tuple[str, ...]) -> Refused:
    return Refused(f"nothing of {named(services)} can be started now", "`deploy guests` says why: is a host silent?")


def _meant(house: AppContext, tenant: str) -> list[Release]:
    return [release for release in guests(house) if tenant in ("", release.manifest.tenant)]


def _each(meant: Sequence[Release], do: Callable[[Release], RolloutResult | None]) -> tuple[RolloutResult, ...]:
    ended = on_all({release.service: release for release in meant}, do, AT_ONCE).all()
    return tuple(each for each in ended.values() if each is not None)

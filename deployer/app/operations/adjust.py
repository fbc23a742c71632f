"""Adjusting what runs of the live release, between two rollouts: its size, lost instances, what was kept warm."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deployer.app.attendance import KEEPER, is_attended
from deployer.app.due import due
from deployer.app.evictions import refuse_evicted
from deployer.app.observe import live_release, observe
from deployer.app.operations.context import AppContext
from deployer.app.operations.control import make_way, refuse_open
from deployer.app.operations.execution import ADJUSTING, begun, locked
from deployer.app.operations.guest_keeping import make_room
from deployer.app.operations.needs import note_load
from deployer.app.operations.port_capacity import refuse_crowded
from deployer.core.errors import DeployError, Locked, Refused
from deployer.core.limits import MOST_REPLICAS
from deployer.engine import RolloutResult, drive
from deployer.model import Release
from deployer.planning.adjustment import falling_asleep
from deployer.planning.orders import KEEP, SCALE
from deployer.store import DEPLOYER, Lock, whoami

if TYPE_CHECKING:
    from deployer.planning.concurrency import LearnedConcurrency
    from deployer.planning.scaling import WantedSize


def keep(house: AppContext, service: str) -> RolloutResult | None:
    """Do what is due of a service, for the keeper; None where nothing is. Raise Locked while others are at work."""
    with locked(house, service, f"{ADJUSTING} what runs") as lock:
        refuse_open(house, service)
        return _adjusted(house, lock, live_release(house.store, service), KEEP, DEPLOYER, "")


def scale(house: AppContext, service: str, instances: int, seconds: float, reason: str) -> RolloutResult:
    """Record how many instances a person wants on each host, for so long (0: until another word), and bring it about.

    0 instances: as many as the manifest says, from now on, or as the load needs.
    """
    release = live_release(house.store, service)
    refuse_evicted(house.store, service)
    make_sense(release, instances)
    make_way(house, service, "another size is wanted")
    with locked(house, service, f"{ADJUSTING} the size") as lock:
        refuse_open(house, service)
        if instances:
            until = house.clock.now() + seconds if seconds else 0.0
            house.store.sizes.set(lock, instances, until, reason)
        else:
            house.store.sizes.clear(lock, reason)
            note_load(house, lock, release)
        if seconds and not is_attended(house.store, KEEPER):
            house.tell(
                service, "no keeper runs, which would end it: `deploy serve`, `deploy keep` or `deploy scale --auto`"
            )
        release = live_release(house.store, service)
        ending = _adjusted(house, lock, release, SCALE, whoami(), reason)
        if ending is not None:
            return ending
        text = f"{release.name} has {_counted(release)} already"
        house.tell(service, text)
        return RolloutResult.at_once(text)


def regrown(house: AppContext, service: str) -> None:
    """Have what a rollback brought back at the size that is wanted now: it may have been kept smaller."""
    try:
        with locked(house, service, f"{ADJUSTING} the size") as lock:
            if house.store.rollouts.in_progress(service) is None:
                _adjusted(house, lock, live_release(house.store, service), SCALE, whoami(), "after a rollback")
    except Locked:
        return  # whoever deploys now starts as many
    except DeployError as error:  # users are where they should be
        house.tell(service, f"it does not have its size yet: {error}")


def follow_load(house: AppContext, service: str, wanted: WantedSize) -> RolloutResult | None:
    """Record how many instances the load needs, and bring it about; None where a person wants another size."""
    with locked(house, service, f"{ADJUSTING} the size") as lock:
        refuse_open(house, service)
        if house.store.sizes.get(service) is not None:
            return None
        house.store.needs.set(lock, wanted.instances, wanted.why)
        return _adjusted(house, lock, live_release(house.store, service), SCALE, DEPLOYER, wanted.why)


def learn(house: AppContext, service: str, learned: LearnedConcurrency) -> RolloutResult | None:
    """Record how many requests at once an instance answers well, and have the proxy give each as many."""
    with locked(house, service, f"{ADJUSTING} the concurrency") as lock:
        refuse_open(house, service)
        house.store.concurrencies.set(lock, learned.requests, learned.why)
        return _adjusted(house, lock, live_release(house.store, service), SCALE, DEPLOYER, learned.why)


def fall_asleep(house: AppContext, service: str, why: str) -> RolloutResult | None:
    """Have the live release sleep until the next request; None where it does, or a person wants a size."""
    with locked(house, service, f"{ADJUSTING} the size") as lock:
        refuse_open(house, service)
        release = live_release(house.store, service)
        if release.scaled or not (release.manifest.scale and release.manifest.scale.sleeps):
            return None
        drivers = house.drivers(release)
        plan = falling_asleep(observe(house.store, drivers, service), release, why)
        if plan is None:
            return None
        rollout = house.store.rollouts.begin(lock, plan, Path.cwd(), DEPLOYER, why)
        return drive(begun(house, lock, drivers, rollout))


def make_sense(release: Release, instances: int) -> None:
    """Raise Refused for a size that the service cannot have."""
    if instances > 1 and release.manifest.single:
        raise Refused(f"{release.service} is `single`: it never has two instances at once", "remove `single` first")
    if not 0 <= instances <= MOST_REPLICAS:
        raise Refused(
            f"{instances} instances on a host: from 1 to {MOST_REPLICAS} are possible", "`deploy down` runs none"
        )


def _adjusted(
    house: AppContext, lock: Lock, release: Release, occasion: str, by: str, reason: str
) -> RolloutResult | None:
    drivers = house.drivers(release)
    observed = observe(house.store, drivers, release.service)
    plan = due(house, drivers, release, observed, occasion)
    if plan is None:
        return None
    refuse_crowded(house, plan, observed)
    make_room(house, release.service, [(release, plan)], observed.running(release.number))
    rollout = house.store.rollouts.begin(lock, plan, Path.cwd(), by, reason)
    return drive(begun(house, lock, drivers, rollout))


def _counted(release: Release) -> str:
    count, each = release.replicas, " on each host" if release.hosts else ""
    if release.manifest.scale and not release.scaled:
        count, each = release.size("blue"), ""
    return f"{count} instance{'s' * (count != 1)}{each}"

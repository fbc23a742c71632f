"""Driving a rollout in this process: the lock, the drivers, the first event."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from deployer.app.operations.context import AppContext
from deployer.drivers.fenced import Owner, fenced
from deployer.drivers.ports import Drivers
from deployer.engine import Drive
from deployer.model import Release, SecretText
from deployer.store import Heartbeat, Lock, Rollout

ADJUSTING = "adjusting"  # so begins the purpose of the lock that an adjustment holds


@contextmanager
def locked(house: AppContext, service: str, purpose: str) -> Iterator[Lock]:
    """Hold the lock of a service, with signs of life. Raises Locked when somebody else holds it."""
    lock = house.store.locks.take(service, purpose)
    try:
        with Heartbeat(house.store.locks, lock, lambda text: house.tell(service, text)):
            house.announcer.settle(lock)
            yield lock
    finally:
        house.store.locks.release(lock)


def hands(house: AppContext, lock: Lock, drivers: Drivers) -> Drivers:
    """Return the drivers with which the owner of a lock changes the world: as long as the lock is its own."""
    locks = house.store.locks
    return fenced(
        drivers, Owner(lock, lock.token, lambda: locks.changing(lock), lambda token: locks.outlive(lock, token))
    )


def begun(house: AppContext, lock: Lock, drivers: Drivers, rollout: Rollout) -> Drive:
    """Make ready to drive a rollout that was just recorded, and tell that it began."""
    run, plan = run_of(house, lock, rollout, drivers), rollout.plan
    run.tell(
        "rollout.started",
        release=plan.release,
        version=run.candidate.version,
        origin=plan.origin,
        strategy=plan.strategy,
        by=rollout.started_by,
        steps=[s.explain() for s in plan.forward],
        plan=plan.to_dict(),
    )
    return run


def run_of(house: AppContext, lock: Lock, rollout: Rollout, drivers: Drivers | None = None) -> Drive:
    """Make ready to drive a recorded rollout."""
    candidate = house.store.releases.get(rollout.service, rollout.release)
    listener = house.announcer.beside(lock, rollout)

    def secrets(release: Release) -> dict[str, SecretText]:
        return house.vault.load(release.service, release.number, frozenset(release.manifest.record()["secrets"]))

    return Drive(
        store=house.store,
        drivers=hands(house, lock, drivers or house.drivers(candidate, rollout.folder)),
        clock=house.clock,
        sink=house.traced(rollout.service, rollout.number, listener or house.sink),
        rollout=rollout,
        lock=lock,
        secrets=secrets,
        ports=house.ports,
        port_usable=port_usable,
        stop_asked=house.stop.asked,
        detach=lambda: house.stop.detach,
        owed=listener is not None,
    )


def port_usable(port: int) -> bool:
    """Return whether nobody listens on a port of this host."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def committed(house: AppContext, rollout: Rollout) -> bool:
    """Return whether a rollout is past its commit point, or its set is decided to go forward."""
    if rollout.plan.meets and (group := house.store.sets.of_rollout(rollout.number)) and group.decided == "forward":
        return True
    return house.store.journal.is_done(rollout.number, "forward", rollout.plan.commit)

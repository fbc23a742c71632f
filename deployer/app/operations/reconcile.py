"""Writing down what an emergency did at the proxy: users were moved first, the store learns of it here.

That it has to is seen from outside: users are on another release than the one that was promoted last. So whoever comes
next finds it and ends it, wherever the emergency was killed.
"""

from __future__ import annotations

from pathlib import Path

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import begun, hands, locked
from deployer.core.clock import Deadline
from deployer.drivers.ports import Drivers
from deployer.emergency import record
from deployer.engine import RolloutResult, drive
from deployer.model import Live, release_of
from deployer.planning.recipes import PROXY_SECONDS
from deployer.planning.rollback import moved_plan, played_since
from deployer.store import Lock, whoami


def unwritten(house: AppContext, drivers: Drivers, service: str) -> int:
    """Return the release that users are on by a rollback that the store knows nothing of; 0 where there is none.

    Asks the proxy alone: the engine may be down.
    """
    stable = house.store.services.get(service).stable
    live = drivers.traffic.read(service) if stable else None
    if live is None or live.share or house.store.rollouts.in_progress(service) is not None:
        return 0
    here = {release_of(service, server.name) for server, _ in drivers.traffic.servers(service, live.stable)}
    on = here.pop() if len(here) == 1 else 0
    known = {r.number for r in house.store.releases.of(service)}
    return on if on != stable and on in known else 0


def write_down(house: AppContext, service: str) -> RolloutResult | None:
    """Record a rollback that the store knows nothing of; None where there is none."""
    stable = house.store.services.get(service).stable
    if not stable:
        return None
    drivers = house.drivers(house.store.releases.get(service, stable))
    if not unwritten(house, drivers, service):
        return None
    with locked(house, service, "writing down a rollback") as lock:
        return record_rollback(house, lock, drivers, service)


def record_rollback(
    house: AppContext, lock: Lock, drivers: Drivers, service: str, reason: str = ""
) -> RolloutResult | None:
    """Record it under a lock: the proxy's files and its entry first, then the store, then what is left to do."""
    drivers = hands(house, lock, drivers)
    target = unwritten(house, drivers, service)
    live = drivers.traffic.read(service) if target else None
    if live is None:
        return None
    release = house.store.releases.get(service, target)
    left = house.store.releases.get(service, house.store.services.get(service).stable)
    deadline = Deadline.after(house.clock, PROXY_SECONDS)
    drivers.traffic.set_traffic(service, Live(live.stable, rollout=live.rollout), deadline)
    drivers.traffic.configure(release, None, deadline)
    if warning := played_since(house.store.releases.of(service), target, left.number):
        house.tell(service, warning)
    noted = record.read(str(house.store.folder), service)
    plan = moved_plan(release, left, live.stable)
    by = noted.by if noted else whoami()
    rollout = house.store.rollouts.begin_moved(lock, plan, Path.cwd(), by, reason or (noted.reason if noted else ""))
    ending = drive(begun(house, lock, drivers, rollout))
    record.remove(str(house.store.folder), service)
    return ending

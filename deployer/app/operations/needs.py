"""With how many instances a release begins whose size follows the load from now on."""

from __future__ import annotations

from deployer.app.operations.context import AppContext
from deployer.app.usual_loads import UsualLoads
from deployer.model import Load, Observed, Release
from deployer.store import Lock


def needed_now(house: AppContext, observed: Observed) -> int:
    """Return how many instances the load needs: as many as run, where it was not followed yet."""
    if observed.stable is None or observed.live is None:
        return 0
    need = house.store.needs.get(observed.service)
    if need is not None and observed.stable.manifest.scale:
        return need.instances
    there = observed.environment(observed.live.stable)
    return len(there.healthy()) if there else 0


def note_need(house: AppContext, lock: Lock, release: Release) -> None:
    """Record how many instances a release begins with whose size follows the load from now on."""
    need = house.store.needs.get(release.service)
    if need is None or need.instances != release.needed:
        house.store.needs.set(lock, release.needed, "as many as ran before" if release.needed else "")


def note_load(house: AppContext, lock: Lock, release: Release) -> None:
    """Record how many instances the load needs now, as what is recorded is from before a person wanted another size."""
    if (scale := release.manifest.scale) is None:
        return
    from deployer.planning.prediction import predicted
    from deployer.planning.scaling import LoadHistory

    drivers = house.drivers(release)
    if (live := drivers.traffic.read(release.service)) is None:
        return  # what is to be done then, an adjustment says
    history = LoadHistory(scale)
    history.add(house.clock.monotonic(), drivers.inspection.load(release.service).get(live.stable, Load()))
    usual = UsualLoads(house.store.loads, release).at(house.clock.now())
    wanted = predicted(history.wanted(scale.within(0)), usual, scale)
    house.store.needs.set(lock, wanted.instances, wanted.why)

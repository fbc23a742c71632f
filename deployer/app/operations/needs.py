"""With how many instances a release begins whose size follows the load, and with how many requests at once for each."""

from __future__ import annotations

from deployer.app.operations.context import AppContext
from deployer.app.usual_loads import UsualLoads
from deployer.core.clock import stamp
from deployer.model import Load, Observed, Release
from deployer.store import Lock

FORMER = "as the release before had it"


def needed_now(house: AppContext, observed: Observed) -> int:
    """Return how many instances the load needs: as many as run, where it was not followed yet."""
    if observed.stable is None or observed.live is None:
        return 0
    need = house.store.needs.get(observed.service)
    if need is not None and observed.stable.manifest.scale:
        return need.instances
    there = observed.environment(observed.live.stable)
    return len(there.healthy()) if there else 0


def learned_now(house: AppContext, observed: Observed) -> int:
    """Return how many requests at once an instance answers well, as far as is known: what its manifest said of it, too.

    0 for nothing.
    """
    scale = observed.stable.manifest.scale if observed.stable else None
    if scale is not None and not scale.learns:
        return scale.each
    known = house.store.concurrencies.get(observed.service)
    return known.requests if known else 0


def note_need(house: AppContext, lock: Lock, release: Release) -> None:
    """Record with what a release begins whose size follows the load from now on."""
    need = house.store.needs.get(release.service)
    if need is None or need.instances != release.needed:
        house.store.needs.set(lock, release.needed, "as many as ran before" if release.needed else "")
    known = house.store.concurrencies.get(release.service)
    if release.manifest.scale and release.manifest.scale.learns and release.learned != (known.requests if known else 0):
        house.store.concurrencies.set(lock, release.learned, FORMER)


def concurrency_text(house: AppContext, release: Release) -> str:
    """Return how many requests at once an instance of a release gets, and from what that was learned."""
    if (scale := release.scale) is None:
        return ""
    known, text = house.store.concurrencies.get(release.service), f"concurrency: {scale.each} for each instance"
    if not release.learned:
        return f"{text}, until something is learned"
    if known is None or known.requests != release.learned:
        return f"{text}, {FORMER}"
    return f"{text}, since {stamp(known.at)}: {known.why}"


def note_load(house: AppContext, lock: Lock, release: Release) -> None:
    """Record how many instances the load needs now, as what is recorded is from before a person wanted another size."""
    if (scale := release.scale) is None:
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

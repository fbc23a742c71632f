"""What the keeper did last of a service, and what it does next, for whoever asks; and where one is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from deployer.app.attendance import CERTIFICATES, JOBS, KEEPER, is_attended
from deployer.app.due import due
from deployer.app.evictions import eviction
from deployer.app.pauses import COUNTED, not_before
from deployer.core.errors import DeployError, Refused
from deployer.model import GuestTerms, Load, Observed, Place, Release
from deployer.planning.orders import CONTRACT
from deployer.store import Rollout
from deployer.views.status_data import KeeperView, SizeView

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.drivers.ports import Drivers
    from deployer.drivers.ports.guests import Guests
    from deployer.views.status_parts import LoadView

SCALE = "`scale`"


def shown(
    house: AppContext, drivers: Drivers, release: Release, observed: Observed | None, load: Mapping[Place, Load]
) -> tuple[SizeView | None, KeeperView | None, tuple[str, ...]]:
    """Return what a status shows of a service between deploys, and its problems; `observed` and `load` if read."""
    found: tuple[SizeView | None, KeeperView | None] = None, None
    problems: list[str] = []
    if observed is not None:
        try:
            found = size(house, release, observed, load), keeper(house, drivers, release, observed)
        except DeployError as error:
            problems.append(str(error))
    if drivers.sleeper and (wakes := drivers.sleeper.wakes(release.service)) and wakes[-1].concerns(release.number):
        problems.append(wakes[-1].text)
    if release.manifest.tenant and (evicted := eviction(house.store, release.service)):
        problems.append(f"{release.service} is {evicted.text}")
    elif release.terms and drivers.guests:
        problems += _of_hosts(drivers.guests, release.terms)
    if text := unattended(house, release.service):
        problems.append(text)
    return *found, tuple(problems)


def _of_hosts(guests: Guests, terms: GuestTerms) -> Iterator[str]:
    """Yield what hosts do by themselves with what is a guest there."""
    try:
        found = guests.use(terms)
    except DeployError as error:
        yield str(error)
        return
    for host, use in found.items():
        for what, since in (("frozen", use.watch.frozen), ("stopped", use.watch.stopped)):
            if since:
                yield f"{what} by {host or 'this host'} {since}"


def size(house: AppContext, release: Release, observed: Observed, load: Mapping[Place, Load]) -> SizeView:
    """Return how many instances of the live release there are, are wanted, and why."""
    colour = observed.live.stable if observed.live else "blue"
    here = observed.environment(colour)
    said = house.store.sizes.get(release.service)
    return SizeView(
        release=release.number,
        version=release.version,
        instances=len(here.healthy()) if here else 0,
        wanted=release.size(colour),
        replicas=release.replicas,
        hosts=max(1, len(release.host_names(colour))),
        manifest=release.manifest.replicas,
        by=said.by if said else "",
        reason=said.reason if said else "",
        until=said.until if said else 0.0,
        scale=_scale(house, release, load.get(colour, Load())),
        asleep=observed.asleep.get(colour, 0.0),
        paused=any(i.state == "paused" for i in here.instances) if here else False,
    )


def _scale(house: AppContext, release: Release, load: Load) -> LoadView | None:
    """Return by what the size of a release follows its load, and the load now; None where it does not."""
    if (scale := release.scale) is None or release.manifest.scale is None:
        return None
    from deployer.app.usual_loads import UsualLoads
    from deployer.views.status_parts import LoadView

    known = house.store.concurrencies.get(release.service) if release.manifest.scale.learns else None
    need = house.store.needs.get(release.service)
    usual = UsualLoads(house.store.loads, release).at(house.clock.now())
    usual_size = usual.instances(scale) if usual else 0
    if usual_size == scale.within(0):
        usual, usual_size = None, 0  # there are as many anyway
    return LoadView(
        least=scale.min,
        most=scale.max,
        concurrency=scale.each,
        running=load.running,
        waiting=load.waiting,
        needed=scale.within(need.instances if need else 0),
        why=need.why if need else "",
        at=need.at if need else 0.0,
        usual=usual.text if usual else "",
        usual_size=usual_size,
        learns=release.manifest.scale.learns,
        learned=known.why if known else "",
        learned_at=known.at if known else 0.0,
    )


def keeper(house: AppContext, drivers: Drivers, release: Release, observed: Observed) -> KeeperView:
    """Return what the keeper did last of a service and does next, and whether there is one."""
    rollouts = house.store.rollouts.of(release.service, COUNTED, adjustments=True)
    last = next((r for r in rollouts if r.adjusts and r.strategy != CONTRACT and not r.open), None)
    text, at = _next(house, drivers, release, observed, rollouts)
    return KeeperView(
        runs=is_attended(house.store, KEEPER),
        last=last.text if last else "",
        last_at=last.ended_at or 0.0 if last else 0.0,
        last_rollout=last.number if last else 0,
        next=text,
        next_at=at,
    )


def _next(
    house: AppContext, drivers: Drivers, release: Release, observed: Observed, rollouts: tuple[Rollout, ...]
) -> tuple[str, float]:
    """Return what is to be done next, and when; 0 is now."""
    service = release.service
    if (rollout := house.store.rollouts.in_progress(service)) is not None:
        return ("" if rollout.adjusts else f"nothing while rollout {rollout.number} is in progress"), 0.0
    try:
        plan = due(house, drivers, release, observed)
    except Refused as error:
        return f"nothing: {error.message}", 0.0
    if plan is not None:
        return "; ".join(plan.notes), max(0.0, not_before(rollouts))
    ahead = sorted(_ahead(house, release, observed), reverse=True)
    return (ahead[-1][1], ahead[-1][0]) if ahead else ("", 0.0)


def _ahead(house: AppContext, release: Release, observed: Observed) -> Iterator[tuple[float, str]]:
    """Yield what will be due, and when."""
    service, scale = release.service, release.manifest.scale
    record, said = house.store.services.get(service), house.store.sizes.get(service)
    if record.warm:
        yield record.warm_until, f"r{record.warm} is removed, which is kept warm until then"
    if said is not None and said.until:
        yield said.until, f"the size that {said.by} wanted expires"
    if scale and scale.hours and not release.scaled:
        within, at = scale.hours.change(house.clock.now())
        if within:
            yield at, "it may sleep from then on (`scale.hours`)"
        elif observed.live and observed.live.stable in observed.asleep:
            yield at, "it is woken (`scale.hours`)"
        else:
            yield at, "it does not sleep from then on (`scale.hours`)"


# -- where nobody looks after it


def unattended(house: AppContext, service: str, *, warm: bool = False) -> str:
    """Return which keys of the live release's manifest ask for something between rollouts that nobody does; else "".

    `warm`: the manifest names how long an environment is kept.
    """
    stable = house.store.services.get(service).stable
    release = house.store.releases.get(service, stable) if stable else None
    keys = tuple(_unattended(house, release, warm=warm)) if release else ()
    if not release or not keys:
        return ""
    listed = f"{', '.join(keys[:-1])} and {keys[-1]}" if len(keys) > 1 else keys[0]
    ask = "ask" if len(keys) > 1 else "asks"
    scale = release.manifest.scale if SCALE in keys else None
    more = (
        "; without it the service does not go to sleep, but a sleeping one still wakes"
        if scale and not scale.min
        else ""
    )
    said = f"nothing does what {listed} of {service} {ask} for between deploys: `deploy serve` does (docs/keeper.md)"
    return said + more


def _unattended(house: AppContext, release: Release, *, warm: bool) -> Iterator[str]:
    record, store = release.manifest.record(), house.store
    if record.get("schedule") and not is_attended(store, JOBS):
        yield "`schedule`"
    tls = (record.get("traffic") or {}).get("tls") or {}
    if tls.get("auto") and not is_attended(store, CERTIFICATES):
        yield "`traffic.tls: auto`"
    if record.get("tenant") and not is_attended(store, KEEPER):
        yield "`tenant`"
    if record.get("scale") and not is_attended(store, KEEPER):
        yield SCALE
    if warm and release.served and not is_attended(store, KEEPER):
        yield "`keep.warm`"

"""A proxy that does not serve any more, or has lost where users are: it is brought back from the records."""

from __future__ import annotations

from deployer.app.observe import lost
from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import hands, locked
from deployer.core.clock import Deadline, stamp
from deployer.core.errors import DeployError, DriverFailed, Refused
from deployer.drivers.ports import Drivers, standing
from deployer.model import Colour, Live, Observed

PROXY_SECONDS = 60.0
LEASE_SECONDS = 60.0  # a rollout waits for what ends by then


def serve_again(house: AppContext, drivers: Drivers, service: str) -> None:
    """See that the proxy answers for a service; else have it serve from the records.

    The caller holds the lock of the service. Raises DriverFailed when that does not help. Lost proxies that respond
    again are brought up to date.
    """
    _bring_back(house, drivers, service)
    try:
        drivers.traffic.read(service)
    except DriverFailed as failed:
        house.tell(service, f"{failed.message}: restoring the proxy from the state database")
        drivers.upkeep.repair(service, Deadline.after(house.clock, PROXY_SECONDS), recorded(house))
        drivers.traffic.read(service)


def bring_back(house: AppContext, service: str) -> None:
    """Bring lost proxies of a service that respond again up to date, if nobody is at work, and tell which.

    For whoever looks again and again: where none responds, the lock of the service is not taken. Raises DeployError.
    """
    newest = next(iter(house.store.releases.of(service)), None)
    if newest is None or house.store.locks.read(service) is not None:
        return
    drivers = house.drivers(newest)
    _, silent = drivers.inspection.reachable()
    if all(proxy.name in silent for proxy in drivers.traffic.lost(service)):
        return
    with locked(house, service, "bringing a proxy up to date") as lock:
        _bring_back(house, hands(house, lock, drivers), service)


def _bring_back(house: AppContext, drivers: Drivers, service: str) -> None:
    if drivers.traffic.lost(service):
        for name in drivers.upkeep.bring_back(service, Deadline.after(house.clock, PROXY_SECONDS)):
            house.tell(service, f"the proxy of {name} is back: it was brought up to date")


def refuse_lost(house: AppContext, observed: Observed) -> None:
    """Raise Refused where the live release runs and nothing says in which colour it is live.

    A plan would take the service for a new one, and clear what its users are on.
    """
    if what := lost(house.store, observed):
        stable = house.store.services.get(observed.service).stable
        hint = "`deploy doctor --fix` writes it again, then run this command again"
        if house.store.releases.get(observed.service, stable).served:
            hint = f"{hint}; before a move to other proxies, run `deploy down`"
        raise Refused(f"{observed.service}: {what}: a rollout would remove it", hint)


def refuse_kept(house: AppContext, drivers: Drivers, observed: Observed) -> None:
    """Raise Refused where a lost proxy may still send users, for long, to what a rollout would clear first."""
    place = observed.colour
    for proxy in drivers.traffic.lost(observed.service) if observed.environment(place) else ():
        until = proxy.sends_to(place)
        if until - house.clock.now() > LEASE_SECONDS:
            raise Refused(
                f"{proxy.name} is lost ({proxy.why}) and may send users to {place} until {stamp(until)}:"
                " a rollout would remove what runs there",
                "bring it back: `deploy doctor --fix` brings it up to date once it responds; or take it out of the"
                " inventory; or wait (`traffic.proxies.keep`)",
            )


def recorded(house: AppContext) -> dict[str, Live]:
    """Return the live value that each service should have: all users on the release that was promoted last."""
    found: dict[str, Live] = {}
    for service in house.store.services.all():
        if not service.stable:
            continue
        try:
            there = standing(
                house.drivers(house.store.releases.get(service.name, service.stable)).runtime, service.name
            )
        except DeployError:  # its engine is down: what its colour is, nobody can say
            continue
        places = {i.colour for i in there.instances if i.release == service.stable and i.colour != "baseline"}
        newest = next(iter(house.store.rollouts.of(service.name, 1)), None)
        if len(places) == 1:
            colour: Colour = "green" if "green" in places else "blue"
            found[service.name] = Live(colour, rollout=newest.number if newest else 0)
    return found

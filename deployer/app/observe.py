"""Reading the world: what the proxy does and what stands, as `Observed`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from deployer.core.errors import Refused
from deployer.drivers.ports import Drivers, live_file, standing
from deployer.model import COLOURS, PLACES, Environment, Instance, Observed, Place, Release

if TYPE_CHECKING:
    from deployer.store import Store


def observe(store: Store, drivers: Drivers, service: str) -> Observed:
    """Read proxy and runtime. `stable` is None when nothing of the stable colour runs: nothing to compare with.

    Hosts that give no answer are named; whoever needs them refuses to go on.
    """
    live = drivers.traffic.read(service)
    there = standing(drivers.runtime, service)
    blue, green, baseline = (environment_in(service, place, there.instances) for place in PLACES)
    stable: Release | None = None
    if live is not None:
        environment = blue if live.stable == "blue" else green
        if environment is not None and environment.healthy():
            stable = _release(store, service, environment.release)
    asleep = drivers.sleeper.asleep(service) if drivers.sleeper else {}
    return Observed(service, live, stable, blue, green, baseline, there.silent, asleep)


def live_release(store: Store, service: str) -> Release:
    """Return the release that was promoted last. Raise Refused when there is none."""
    stable = store.services.get(service).stable
    if not stable:
        raise Refused(f"no release of {service} is live", "`deploy up` deploys one")
    return store.releases.get(service, stable)


def is_served(store: Store, service: str) -> bool:
    """Return whether users reach a service, by its newest release."""
    newest = next(iter(store.releases.of(service)), None)
    return newest is None or newest.served


def lost(store: Store, observed: Observed) -> str:
    """Return what is to be said where the live release runs although nothing says so any more, else ""."""
    stable = store.services.get(observed.service).stable
    if observed.live is not None or not stable:
        return ""
    for colour in COLOURS:
        environment = observed.environment(colour)
        if environment and environment.release == stable and environment.healthy():
            served = store.releases.get(observed.service, stable).served
            file = "" if served else f", {live_file(store.folder, observed.service)},"
            return f"r{stable} ({colour}) is live by the records and is running, but its live value{file} is lost"
    return ""


def environment_in(service: str, place: Place, instances: Iterable[Instance]) -> Environment | None:
    """Return the environment that runs in a place, of all instances of the service."""
    here = [i for i in instances if i.colour == place]
    if not here:
        return None
    # More than one release in a colour is what a killed deploy left; the larger part names it, the next one clears it.
    release = Counter(i.release for i in here).most_common(1)[0][0]
    return Environment(service, place, release, tuple(i for i in here if i.release == release))


def _release(store: Store, service: str, number: int) -> Release:
    try:
        return store.releases.get(service, number)
    except Refused:
        raise Refused(
            f"{service}: instances of r{number} run, but {store.folder} does not know that release",
            "name the state folder that deployed it with --state",
        ) from None

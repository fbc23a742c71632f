"""One service, as the store, the runtime and the proxy show it at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from deployer.app.observe import environment_in
from deployer.app.operations import AppContext
from deployer.app.queries import drivers_of
from deployer.drivers.ports import Drivers, standing
from deployer.model import PLACES, Colour, Environment, Instance, Live, LostProxy, Place, Release, Server, spread
from deployer.store import Lock, Port, Rollout, ServiceRecord


@dataclass(frozen=True)
class ServiceSnapshot:
    """What three see of a service: the store, the runtime and the proxy."""

    service: str
    record: ServiceRecord
    releases: dict[int, Release]
    rollout: Rollout | None
    lock: Lock | None  # of another living process
    ports: tuple[Port, ...]
    live: Live | None
    instances: tuple[Instance, ...]
    servers: dict[Place, dict[str, tuple[Server, bool]]]  # by name; whether the proxy finds it up
    now: float
    drivers: Drivers
    silent: Mapping[str, str]  # hosts that gave no answer, and why
    asleep: Mapping[Place, float] = field(default_factory=dict)  # places that sleep until the next request
    lost: tuple[LostProxy, ...] = ()  # proxies that do not have what the others have

    @cached_property
    def environments(self) -> dict[Place, Environment]:
        """Return what stands, by place: the recorded release where any of it stands there, else the larger part."""
        found = ((place, self._recorded(place) or self._larger(place)) for place in PLACES)
        return {place: environment for place, environment in found if environment is not None}

    @property
    def stable(self) -> Environment | None:
        """What stands where users are."""
        return self.environments.get(self.live.stable) if self.live else None

    def _recorded(self, place: Place) -> Environment | None:
        return environment_in(
            self.service, place, (i for i in self.instances if i.release == self._expected(place) and i.release)
        )

    def _expected(self, place: Place) -> int:
        if self.live is None:
            return 0
        if place == self.live.stable:
            return self.record.stable
        if self.rollout is not None and place == self.live.candidate:
            return self.rollout.release
        return self.record.warm if place == self.record.warm_colour else 0

    def _larger(self, place: Place) -> Environment | None:
        return environment_in(self.service, place, self.instances)

    def role(self, place: Place) -> str:
        """Return what everything in a place is: stable, warm, candidate, baseline or left over."""
        environment = self.environments[place]
        if self.live is not None and place == self.live.stable:
            return "stable"
        if self.rollout is not None:
            return "baseline" if place == "baseline" else "candidate"
        warm = (environment.release, place) == (self.record.warm, self.record.warm_colour)
        return "warm" if warm and self.record.warm else "left over"

    def share(self, place: Place) -> int:
        """Return the part of the users, in basis points, that a place gets now."""
        live = self.live
        if live is None:
            return 0
        in_force = not live.lease or live.lease > self.now
        share, baseline = (live.share, live.baseline) if in_force else (0, 0)
        parts: dict[Place, int] = {live.stable: 10000 - share - baseline, live.candidate: share, "baseline": baseline}
        return parts[place]

    def up(self, place: Place) -> set[str]:
        """Name the servers of a place that the proxy finds up."""
        return {name for name, (_, is_up) in self.servers[place].items() if is_up}

    def kept_for(self, place: Place) -> str:
        """Name the lost proxies that may still send users to a place."""
        return ", ".join(proxy.name for proxy in self.lost if proxy.sends_to(place) > self.now)

    def pauses(self, place: Place) -> bool:
        """Return whether what stands in a place is kept paused, and so out of the proxy."""
        stable = self.releases.get(self.record.stable)
        return self.role(place) == "warm" and stable is not None and stable.manifest.keep.paused

    @property
    def names(self) -> set[str]:
        """Name all instances that stand, or may: what is on a host that is silent was not seen."""
        hidden = {f"{self.service}-r{p.release}-{p.index}" for p in self.ports if p.host in self.silent}
        return {i.name for i in self.instances} | hidden

    @property
    def settled(self) -> bool:
        """Return whether nothing is in progress, so that what is recorded and what is so must agree."""
        return self.rollout is None and self.lock is None


def wanted(release: Release, place: Place, *, warm: bool = False) -> dict[int, str]:
    """Return which instances a release has in a place when it is whole, and on which hosts.

    One that is kept `warm` need not have more than its manifest says.
    """
    if warm:
        release = release.least()
    colour: Colour = "green" if place == "green" else "blue"
    return spread(place, release.size(colour), release.host_names(colour))


def look(house: AppContext, service: str, own: Lock | None = None) -> ServiceSnapshot:
    """Look at a service; `own` is the lock that this process holds on it.

    Raises DeployError when the runtime or the proxy cannot be asked.
    """
    drivers, store = drivers_of(house, service), house.store
    held, there = store.locks.read(service), standing(drivers.runtime, service)
    return ServiceSnapshot(
        service=service,
        record=store.services.get(service),
        releases={r.number: r for r in store.releases.of(service)},
        rollout=store.rollouts.in_progress(service),
        lock=None if held and own and held.token == own.token else held,
        ports=store.ports.of(service),
        live=drivers.traffic.read(service),
        instances=there.instances,
        servers={p: {s.name: (s, up) for s, up in drivers.traffic.servers(service, p)} for p in PLACES},
        now=house.clock.now(),
        drivers=drivers,
        silent=there.silent,
        asleep=drivers.sleeper.asleep(service) if drivers.sleeper else {},
        lost=drivers.traffic.lost(service),
    )

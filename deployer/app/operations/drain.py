"""Hosts without users for a while, because something is done to them: their instances leave, and come back.

The store says which services may have instances there, by the ports that it gave out; the runtime says what stands.
Each service is held under its lock meanwhile, so that nothing is deployed to a host that goes down.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import hands, locked
from deployer.app.operations.proxy_drain import ProxyLeave, fronted
from deployer.core.clock import Deadline
from deployer.core.errors import DeployError, HostsUnreachable, Locked, Refused, StepFailed
from deployer.core.host import Host
from deployer.drivers.ports import Drivers, standing
from deployer.engine.health import await_health
from deployer.model import PLACES, Instance, InstanceSpec, Place, Release, Server
from deployer.planning.steps import named
from deployer.store import Lock

PROXY_SECONDS = 30.0  # for the proxy to take servers out, beyond the drain, and to find one up
BACK_SECONDS = 120.0  # for an engine that was restarted to answer, and to start an instance
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class DrainTerms:
    """What must be left of a service meanwhile: so many percent of its instances, or nothing with `downtime`."""

    floor: float = 50.0
    downtime: bool = False


def refuse_unsparable(house: AppContext, batches: Sequence[Sequence[Host]], terms: DrainTerms) -> None:
    """Raise Refused, or what else is in the way, when one of the batches cannot leave: asked before the first one does.

    Nothing is changed, and no lock is taken.
    """
    for batch in batches:
        for service in (*served(house, batch), *fronted(house, batch)):
            if lock := house.store.locks.read(service):
                raise Locked(lock.explain(house.clock.now()), "wait for it, or stop it with `deploy abort`")
        for service in served(house, batch):
            Leave(house, service, batch, terms).refuse()
        for service in fronted(house, batch):
            ProxyLeave(house, service, [m.name for m in batch], downtime=terms.downtime).refuse()


def served(house: AppContext, hosts: Sequence[Host]) -> tuple[str, ...]:
    """Name the services of which something may stand on hosts."""
    names = _names(hosts)
    return tuple(
        s.name for s in house.store.services.all() if any(p.host in names for p in house.store.ports.of(s.name))
    )


@contextmanager
def relieved(house: AppContext, hosts: Sequence[Host], terms: DrainTerms) -> Iterator[None]:
    """Send no users to hosts in this block; after it, what stood there runs again and is back in rotation.

    Raises Refused, Locked or HostsUnreachable before anything changes. When the block fails, what is healthy comes back
    all the same, and the rest stays out; it is told which.
    """
    purpose = f"update of {named(tuple(m.name for m in hosts))}"
    with ExitStack() as held:
        with_instances, behind = served(house, hosts), fronted(house, hosts)
        locks = {s: held.enter_context(locked(house, s, purpose)) for s in dict.fromkeys((*with_instances, *behind))}
        names = [host.name for host in hosts]
        leaves: list[Leave | ProxyLeave] = [
            *(ProxyLeave(house, s, names, downtime=terms.downtime, lock=locks[s]) for s in behind),
            *(Leave(house, s, hosts, terms, locks[s]) for s in with_instances),
        ]
        for leave in leaves:
            leave.refuse()
        try:
            for leave in leaves:
                leave.go()
            yield
        except BaseException:
            for leave in leaves:
                leave.come_back_if_fit()
            raise
        problems = [problem for leave in leaves for problem in leave.come_back()]
        if problems:
            raise StepFailed(
                f"not in rotation again: {'; '.join(problems)}",
                "`deploy logs` says why; once it is fixed, `deploy doctor --fix` puts it back",
            )


class Leave:
    """One service whose instances leave hosts."""

    def __init__(
        self, house: AppContext, service: str, hosts: Sequence[Host], terms: DrainTerms, lock: Lock | None = None
    ) -> None:
        self._house, self._service, self._terms = house, service, terms
        self._names = _names(hosts)
        drivers = house.drivers(house.store.releases.of(service)[0])
        self._drivers: Drivers = hands(house, lock, drivers) if lock else drivers
        there = standing(drivers.runtime, service)
        self._silent = {host: why for host, why in there.silent.items() if host in self._names}
        self._here = [i for i in there.instances if i.host in self._names and i.state == "running"]
        self._servers = {place: dict(self._read(place)) for place in PLACES}
        self._away: list[Instance] = []  # out of rotation by us

    def _read(self, place: Place) -> Iterator[tuple[str, bool]]:
        return ((server.name, is_up) for server, is_up in self._drivers.traffic.servers(self._service, place))

    # -- what is in the way

    def refuse(self) -> None:
        """Raise Refused when a rollout is open or too little would be left, HostsUnreachable when it cannot be seen."""
        if self._silent:
            raise HostsUnreachable(self._silent)
        rollout = self._house.store.rollouts.in_progress(self._service)
        if rollout is not None:
            raise Refused(
                f"rollout {rollout.number} of {self._service} is in progress: nothing was done to {self._hosts}",
                "`deploy resume`, `deploy promote` or `deploy abort` first",
            )
        left, of = self._left()
        least = max(1, math.ceil(of * self._terms.floor / 100))
        if left is not None and left < least and not self._terms.downtime:
            raise Refused(
                f"{self._hosts} cannot be taken out of rotation: {self._service} would have {left} of {of} instances"
                f" for its users, and {least} must be left",
                "fewer --at-once, a lower --floor, instances on more hosts; or --allow-downtime, with downtime",
            )

    @property
    def _hosts(self) -> str:
        return named(tuple(sorted(self._names - {""})))

    def _left(self) -> tuple[int | None, int]:
        """Return how many instances users would have, of how many; None when nobody would miss any."""
        live = self._drivers.traffic.read(self._service)
        if live is None:
            return None, 0
        up = {name for name, is_up in self._servers[live.stable].items() if is_up}
        going = {i.name for i in self._here if i.colour == live.stable}
        if not up & going:
            return None, 0
        release = next(i.release for i in self._here if i.colour == live.stable)
        wanted = self._house.store.releases.get(self._service, release).size(live.stable)
        return len(up - going), max(wanted, len(up))

    # -- there and back

    def go(self) -> None:
        """Take them out of rotation, and wait until nothing runs on them any more."""
        for place in PLACES:
            going = [i for i in self._here if i.colour == place and i.name in self._servers[place]]
            others = any(is_up for name, is_up in self._servers[place].items() if name not in {i.name for i in going})
            if not going:
                continue
            if not others:  # to be asked until the end is better than nobody to ask
                self._tell(f"{_list(going)} stay in rotation: there is no other one in {place}")
                continue
            self._away += going
            names = [i.name for i in going]
            self._tell(f"{_list(going)} on {self._hosts}: no new requests")
            patience = self._release(going[0]).manifest.stop.drain
            still = self._drivers.traffic.drain(
                self._service, place, names, Deadline.after(self._house.clock, patience)
            )
            end = f"{still} requests are still open after {patience:g} s" if still else "no request is open any more"
            self._tell(f"{_list(going)}: {end}")

    def come_back(self) -> tuple[str, ...]:
        """Have everything running, healthy and in rotation as it was; return what is not."""
        return tuple(problem for instance in self._here if (problem := self._problem(instance, BACK_SECONDS)))

    def come_back_if_fit(self) -> None:
        """Put into rotation what is healthy now, after something went wrong; report what is not."""
        for instance in self._away:
            if problem := self._problem(instance, 0.0):
                self._tell(f"it stays out of rotation: {problem}")

    def _problem(self, instance: Instance, patience: float) -> str:
        """Bring an instance back; return why that did not work."""
        deadline = Deadline.after(self._house.clock, patience)
        try:
            if patience:
                self._await_host(instance, deadline)
                self._start(instance, deadline)
            self._await_health(instance)
            if instance.name in self._servers[instance.colour]:
                back = [Server(instance.name, instance.address)]
                soon = Deadline.after(self._house.clock, PROXY_SECONDS)
                self._drivers.traffic.attach(self._service, instance.colour, back, soon)
        except DeployError as error:
            return f"{instance.name} on {instance.host or 'this host'}: {error.message}"
        if instance in self._away:
            self._tell(f"{instance.name} on {instance.host or 'this host'} is healthy and in rotation again")
        return ""

    def _await_host(self, instance: Instance, deadline: Deadline) -> None:
        """Wait until its engine answers: it may have been restarted, and the host with it."""

        def why() -> str:
            return standing(self._drivers.runtime, self._service).silent.get(instance.host, "")

        if not deadline.wait(lambda: not why(), every=LOOK_SECONDS) and (silent := why()):
            raise HostsUnreachable({instance.host: silent})

    def _await_health(self, instance: Instance) -> None:
        """Wait until it passes its own health check as often as it must. Raises StepFailed."""
        manifest = self._release(instance).manifest
        deadline = Deadline.after(self._house.clock, manifest.health.deadline)
        ill = await_health(self._drivers.checks, manifest, lambda: (self._now(instance),), deadline)
        if ill is not None:
            raise StepFailed(f"not healthy: {ill.why}", "`deploy logs`")

    def _now(self, instance: Instance) -> Instance:
        found = standing(self._drivers.runtime, self._service).instances
        return next((each for each in found if each.name == instance.name), instance)

    def _start(self, instance: Instance, deadline: Deadline) -> None:
        release = self._release(instance)
        secrets = self._house.vault.load(self._service, release.number, frozenset(release.manifest.secrets))
        at = instance.address
        spec = InstanceSpec(release, instance.colour, instance.index, instance.rollout, at, secrets, instance.host)
        self._drivers.runtime.ensure(spec, deadline)

    def _release(self, instance: Instance) -> Release:
        return self._house.store.releases.get(self._service, instance.release)

    def _tell(self, text: str) -> None:
        self._house.tell(self._service, text)


def _names(hosts: Sequence[Host]) -> frozenset[str]:
    """Return what they are called in the records; what stands on this host has no name of one there."""
    here = {""} if any(host.connection == "local" for host in hosts) else set()
    return frozenset({host.name for host in hosts} | here)


def _list(instances: Sequence[Instance]) -> str:
    return named(tuple(i.name for i in instances))

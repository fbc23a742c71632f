"""What puts a difference right. None takes from users what serves them; what was done is seen by looking again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from deployer.app.doctor.finding import Fix
from deployer.app.doctor.snapshot import ServiceSnapshot, wanted
from deployer.app.operations import AppContext
from deployer.app.operations.execution import hands, port_usable
from deployer.app.operations.proxy_recovery import recorded, serve_again
from deployer.app.operations.reconcile import record_rollback
from deployer.app.queries import drivers_of
from deployer.app.recovery import FoundService, read_records, recover
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, HostsUnreachable, LockLost, StepFailed
from deployer.drivers.ports import Drivers, Found, standing
from deployer.emergency import record as notes
from deployer.engine.coexistence import refuse_company
from deployer.engine.health import await_health
from deployer.model import Colour, Environment, Instance, InstanceSpec, Live, Place, Server, join
from deployer.store import Lock
from deployer.store.upkeep import catch_up, last_rollout

PROXY_SECONDS = 30.0
START_SECONDS = 120.0


def refill(house: AppContext, sight: ServiceSnapshot, place: Place) -> Fix:
    """Start what is missing of an environment, wait until it is healthy, and let the proxy know all of it."""
    environment = sight.environments[place]

    def do(lock: Lock | None) -> None:
        own = _held(lock)
        drivers = hands(house, own, sight.drivers)
        release = sight.releases[environment.release]
        secrets = house.vault.load(release.service, release.number, frozenset(release.manifest.secrets))
        rollout = max(i.rollout for i in environment.instances)
        there, find = standing(drivers.runtime, sight.service), partial(house.store.releases.get, sight.service)
        refuse_company(release, place, there, sight.ports, find)
        for index, host in wanted(release, place, warm=sight.role(place) == "warm").items():
            if host in sight.silent:
                continue
            port = house.store.ports.assign(own, release.number, index, house.ports, port_usable, host)
            address = join(release.address(port.host), port.number)
            spec = InstanceSpec(release, place, index, rollout, address, secrets, port.host)
            drivers.runtime.ensure(spec, Deadline.after(house.clock, START_SECONDS))
        instances = _standing(sight, environment)
        _await_healthy(house, sight, environment, instances)
        _attach(house, drivers, place, instances)

    return Fix(f"start what is missing of r{environment.release} ({place})", do)


def attach(house: AppContext, sight: ServiceSnapshot, place: Place) -> Fix:
    """Let the proxy know the instances of an environment."""
    environment = sight.environments[place]

    def do(lock: Lock | None) -> None:
        _attach(house, hands(house, _held(lock), sight.drivers), place, _standing(sight, environment))

    return Fix(f"let the proxy know r{environment.release} ({place})", do)


def configure(house: AppContext, sight: ServiceSnapshot, number: int, place: Colour) -> Fix:
    """Let the proxy know a service that it has forgotten, with all users on the environment in a place."""

    def do(lock: Lock | None) -> None:
        drivers, release = hands(house, _held(lock), sight.drivers), sight.releases[number]
        for there, environment in sight.environments.items():
            if environment.release in sight.releases and there != "baseline":
                drivers.traffic.configure(sight.releases[environment.release], there, _soon(house))
                _attach(house, drivers, there, _standing(sight, environment))
        drivers.traffic.configure(release, None, _soon(house))
        live = drivers.traffic.read(sight.service)
        if live is None or (live.stable != place and not live.share):
            everyone = Live(stable=place, rollout=last_rollout(house.store))
            drivers.traffic.set_traffic(sight.service, everyone, _soon(house))

    if not sight.releases[number].served:
        return Fix(f"note r{number} ({place}) as the live release of {sight.service}", do)
    return Fix(f"let the proxy know {sight.service} again, all users on r{number} ({place})", do)


def remove(house: AppContext, sight: ServiceSnapshot, place: Place, instances: Iterable[Instance], what: str) -> Fix:
    """Take instances away that have no users: drained, forgotten by the proxy, stopped, their ports given back."""
    doomed = tuple(instances)

    def do(lock: Lock | None) -> None:
        own = _held(lock)
        drivers = hands(house, own, sight.drivers)
        if sight.live and place == sight.live.candidate:
            _no_way_back(house, sight, own)
        known = [i.name for i in doomed if i.name in sight.servers[place]]
        if known:
            drivers.traffic.drain(sight.service, place, known, _soon(house))
        for instance in doomed:
            release = sight.releases.get(instance.release)
            grace = release.manifest.stop.grace if release else 10.0
            drivers.runtime.remove(instance, grace, Deadline.after(house.clock, grace + PROXY_SECONDS))
        if known:
            drivers.traffic.detach(sight.service, place, known, _soon(house))
        for instance in doomed:
            house.store.ports.free(own, instance.release, instance.index)
        if place == sight.record.warm_colour and {i.release for i in doomed} == {sight.record.warm}:
            house.store.services.clear_warm(own)

    return Fix(f"remove {what}", do)


def forget_warm(house: AppContext, sight: ServiceSnapshot, number: int) -> Fix:
    """Forget a warm environment of which nothing is running."""

    def do(lock: Lock | None) -> None:
        own = _held(lock)
        _no_way_back(house, sight, own)
        house.store.services.clear_warm(own)

    return Fix(f"forget that r{number} is warm", do)


def detach(house: AppContext, sight: ServiceSnapshot, place: Place, names: tuple[str, ...]) -> Fix:
    """Let the proxy forget servers of which no instance stands."""

    def do(lock: Lock | None) -> None:
        drivers = hands(house, _held(lock), sight.drivers)
        drivers.traffic.drain(sight.service, place, names, _soon(house))
        drivers.traffic.detach(sight.service, place, names, _soon(house))

    return Fix(f"let the proxy forget {', '.join(names)} ({place})", do)


def to_stable(house: AppContext, sight: ServiceSnapshot, live: Live) -> Fix:
    """Move all users to the stable environment."""

    def do(lock: Lock | None) -> None:
        everyone = Live(stable=live.stable, rollout=live.rollout)
        hands(house, _held(lock), sight.drivers).traffic.set_traffic(sight.service, everyone, _soon(house))

    return Fix(f"give all users the stable environment ({live.stable})", do, urgent=True)


def repair(house: AppContext, sight: ServiceSnapshot) -> Fix:
    """Make the proxy and its files agree."""

    def do(lock: Lock | None) -> None:
        hands(house, _held(lock), sight.drivers).upkeep.repair(sight.service, _soon(house), recorded(house))

    return Fix("make the proxy and its files agree", do)


def serve(house: AppContext, service: str) -> Fix:
    """Have a proxy serve again that cannot be asked, from the records."""

    def do(lock: Lock | None) -> None:
        serve_again(house, hands(house, _held(lock), drivers_of(house, service)), service)

    return Fix(f"have the proxy serve {service} again", do, urgent=True)


def free_ports(house: AppContext, held: tuple[tuple[int, int], ...]) -> Fix:
    """Free the ports of instances (release, index) that are gone."""

    def do(lock: Lock | None) -> None:
        for release, index in held:
            house.store.ports.free(_held(lock), release, index)

    return Fix("give the ports back", do)


def write_down(house: AppContext, sight: ServiceSnapshot) -> Fix:
    """Record a rollback whose users were moved at the proxy: what the emergency left to do is done with it."""

    def do(lock: Lock | None) -> None:
        ending = record_rollback(house, _held(lock), sight.drivers, sight.service)
        if ending is not None and ending.exit:
            raise StepFailed(ending.text, "`deploy status`")

    return Fix("write down the rollback", do)


def forget_note(house: AppContext, sight: ServiceSnapshot) -> Fix:
    """Delete the note of an emergency of which nothing is left to do."""

    def do(_lock: Lock | None) -> None:
        notes.remove(str(house.store.folder), sight.service)

    return Fix("delete the note of the emergency", do)


def record(house: AppContext, sight: ServiceSnapshot) -> Fix:
    """Record what is so: from what the instances carry and the proxy does."""

    def do(lock: Lock | None) -> None:
        mine = {i.runtime_id for i in sight.instances}
        found = [f for f in _census(sight) if f.instance.runtime_id in mine]
        carried, lost = read_records(found)
        known = {**carried, **sight.releases}
        seen = FoundService(sight.service, sight.instances, known, lost, sight.live, house.vault.kept(sight.service))
        records = recover(seen, house.clock.now()).records
        last = max((i.rollout for i in sight.instances), default=0)
        catch_up(house.store, _held(lock), records, max(last, sight.live.rollout if sight.live else 0))

    return Fix("record what is so", do)


# -- parts


def _census(sight: ServiceSnapshot) -> tuple[Found, ...]:
    try:
        return sight.drivers.runtime.list_all()
    except HostsUnreachable as error:
        return error.seen


def _soon(house: AppContext) -> Deadline:
    return Deadline.after(house.clock, PROXY_SECONDS)


def _no_way_back(house: AppContext, sight: ServiceSnapshot, lock: Lock) -> None:
    """Let nobody go back, by one write, to what is being taken away."""
    if sight.live and sight.live.warm:
        traffic = hands(house, lock, sight.drivers).traffic
        traffic.set_traffic(sight.service, replace(sight.live, warm=0), _soon(house))


def _held(lock: Lock | None) -> Lock:
    """Return the lock of the service, without which nothing of it is changed."""
    if lock is None:
        raise LockLost("a service is only changed under its lock")
    return lock


def _standing(sight: ServiceSnapshot, environment: Environment) -> tuple[Instance, ...]:
    """Read the instances of an environment as they are now."""
    return tuple(
        i
        for i in standing(sight.drivers.runtime, sight.service).instances
        if (i.colour, i.release) == (environment.colour, environment.release)
    )


def _attach(house: AppContext, drivers: Drivers, place: Place, instances: tuple[Instance, ...]) -> None:
    servers = [Server(i.name, i.address) for i in instances if i.state == "running"]
    if not servers:
        raise DriverFailed(f"nothing in {place} runs", "`deploy logs`")
    drivers.traffic.attach(instances[0].service, place, servers, _soon(house))


def _await_healthy(
    house: AppContext, sight: ServiceSnapshot, environment: Environment, instances: tuple[Instance, ...]
) -> None:
    """Wait until each instance passes its own health check as often as it must. Raises StepFailed."""
    manifest = sight.releases[environment.release].manifest
    deadline = Deadline.after(house.clock, manifest.health.deadline)
    ill = await_health(sight.drivers.checks, manifest, lambda: instances, deadline)
    if ill is not None:
        raise StepFailed(f"{ill.instance.name} is not healthy: {ill.why}", "`deploy logs`")

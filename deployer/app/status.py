"""What is live now, read from proxy, runtime and store. What cannot be read is one of the problems, not an error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deployer.app.evictions import eviction
from deployer.app.migrations import migration
from deployer.app.observe import is_served, lost, observe
from deployer.app.queries import drivers_of, release_version, rollout_row
from deployer.core.clock import stamp
from deployer.core.errors import DeployError
from deployer.model import PLACES, Environment, Instance, Live, Load, Observed, Place, Release, Server
from deployer.views.status_data import EnvironmentView, InstanceView, StatusView

if TYPE_CHECKING:
    from deployer.app.operations import AppContext, Gate
    from deployer.drivers.ports import Drivers
    from deployer.store import Rollout, ServiceRecord
    from deployer.views.status_parts import ApprovalView, JobView, LockView, SafetyView


def status_of(house: AppContext, service: str) -> StatusView:
    """Read what is live: proxy, runtime, store; what cannot be read is listed among the problems."""
    record, rollout = house.store.services.get(service), house.store.rollouts.in_progress(service)
    seen = _Looked(drivers_of(house, service))
    seen.look(house, record, rollout)
    released = house.store.releases.get(service, record.stable) if record.stable else None
    problems = [*seen.problems, *_differences(house, seen, record, released, rollout)]
    if (unwritable := house.store.database.unwritable) is not None:
        problems.insert(0, unwritable.message)
    sized, kept = None, None
    jobs: tuple[JobView, ...] = ()
    if released:
        from deployer.app.keeper import outlook

        jobs = _jobs(house, released, problems)
        sized, kept, more = outlook.shown(house, seen.drivers, released, seen.observed, seen.load)
        problems += more
    candidate, gate = (rollout.release, _gate(house, rollout)) if rollout else (0, None)
    next_command = _next(house, service, rollout, seen.safety, gate)
    return StatusView(
        service=service,
        stable=seen.stable,
        stable_version=release_version(house, service, seen.stable),
        candidate=candidate,
        candidate_version=release_version(house, service, candidate),
        share=_share(seen.live, seen.safety, house.clock.now()),
        lease=float(seen.live.lease) if seen.live else 0.0,
        environments=tuple(seen.environments),
        lock=_lock(house, service, rollout),
        rollout=rollout_row(house, rollout) if rollout else None,
        problems=tuple(problems),
        baseline=seen.live.baseline if seen.live else 0,
        safety=seen.safety,
        next=next_command if seen.observed else "`deploy doctor` says what is missing",
        approval=_approval(gate) if gate else None,
        served=is_served(house.store, service),
        read=seen.observed is not None,
        jobs=jobs,
        size=sized,
        keeper=kept,
        migration=migration(house.store, released, seen.observed) if released else None,
        tenant=(released.manifest.tenant or "") if released else "",
    )


@dataclass
class _Looked:
    """What proxy and runtime show, as far as they could be read."""

    drivers: Drivers
    observed: Observed | None = None  # None where something could not be read
    live: Live | None = None
    environments: list[EnvironmentView] = field(default_factory=list)
    asleep: Mapping[Place, float] = field(default_factory=dict)
    load: Mapping[Place, Load] = field(default_factory=dict)
    safety: SafetyView | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def stable(self) -> int:
        """The release that serves as stable; 0 for none."""
        serves = (e for e in self.environments if e.colour in self.asleep or _runs(e))
        return next((e.release for e in serves if e.role == "stable"), 0)

    def look(self, house: AppContext, record: ServiceRecord, rollout: Rollout | None) -> None:
        """Read all of it; an error ends that, and what was read before stays."""
        try:
            self._look(house, record, rollout)
        except DeployError as error:
            self.observed = None
            self.problems.append(str(error))

    def _look(self, house: AppContext, record: ServiceRecord, rollout: Rollout | None) -> None:
        service = record.name
        traffic, silent = self.drivers.inspection.reachable()
        self.problems += [
            f"the proxy of {gone.name} is lost since {stamp(gone.since)} and does not have what the others have:"
            " `deploy doctor --fix` brings it up to date once it responds"
            for gone in self.drivers.traffic.lost(service)
        ]
        self.drivers = replace(self.drivers, traffic=traffic, inspection=traffic.inspection)
        self.problems += [f"the proxy of {host} is unreachable: {why}" for host, why in silent.items()]
        self.observed = observed = observe(house.store, self.drivers, service)
        self.live, self.asleep = observed.live, observed.asleep
        self.load = self.drivers.inspection.load(service)
        for place in PLACES:
            if environment := observed.environment(place):
                view = _environment(house, self.drivers, environment, self.live, record, observed.silent)
                self.environments.append(replace(view, open=self.load.get(place, Load()).open))
        self.problems += [f"{host or 'this host'} is unreachable: {why}" for host, why in observed.silent.items()]
        self.safety = _safety(house, self.drivers, self.live, rollout)
        self.problems += filter(None, [house.store.events.last(rollout.number, "side.lost", "text")] if rollout else [])


def _runs(environment: EnvironmentView) -> bool:
    return any(instance.state == "running" for instance in environment.instances)


def _differences(
    house: AppContext, seen: _Looked, record: ServiceRecord, released: Release | None, rollout: Rollout | None
) -> Iterator[str]:
    """Yield, as sentences, where what runs differs from what is recorded."""
    if seen.observed is not None and (what := lost(house.store, seen.observed)):
        yield f"{what}: `deploy doctor --fix` writes it again"
    elif released and released.manifest.tenant and eviction(house.store, record.name):
        pass  # which is said with what the keeper does
    elif record.stable and not seen.stable and seen.observed is not None and not seen.observed.silent:
        yield f"r{record.stable} should be live, but nothing of it runs: `deploy up` brings it back"
    if seen.stable and record.stable and seen.stable != record.stable and rollout is None:
        yield f"r{seen.stable} is live, but r{record.stable} is recorded: `deploy resume` records it"


def _jobs(house: AppContext, released: Release, problems: list[str]) -> tuple[JobView, ...]:
    if not released.manifest.record().get("schedule"):
        return ()
    from deployer.app.jobs import overview  # with the models of the manifest, which no other status needs

    try:
        return overview.jobs(house, released)
    except DeployError as error:  # its timezone left this host
        problems.append(str(error))
        return ()


def _safety(house: AppContext, drivers: Drivers, live: Live | None, rollout: Rollout | None) -> SafetyView | None:
    """Read what bounds the cost of a candidate that has users; the proxy counts, the recording knows the shielded."""
    if live is None or rollout is None or not live.share:
        return None
    from deployer.evidence.shared_recording import shielded
    from deployer.views.status_parts import SafetyView

    manifest = house.store.releases.get(rollout.service, rollout.release).manifest
    spent = drivers.traffic.spent(rollout.service) if live.budget else 0
    return SafetyView(
        share=live.share,
        budget=live.budget,
        spent=spent,
        shield=manifest.traffic.shield is not None,
        shielded=shielded(house.store, rollout.number),
        over=bool(live.budget) and spent >= live.budget,
    )


def _share(live: Live | None, safety: SafetyView | None, now: float) -> int:
    return live.share if live and not (safety and safety.over) and (not live.lease or live.lease > now) else 0


def _environment(
    house: AppContext,
    drivers: Drivers,
    environment: Environment,
    live: Live | None,
    record: ServiceRecord,
    silent: Collection[str],
) -> EnvironmentView:
    servers = {s.name: (s, up) for s, up in drivers.traffic.servers(environment.service, environment.colour)}
    moves = drivers.runtime.moves
    warm = environment.release == record.warm and environment.colour == record.warm_colour
    if environment.colour == "baseline":
        role = "baseline" if house.store.rollouts.in_progress(environment.service) else "left over"
    elif live is not None and environment.colour == live.stable:
        role = "stable"
    elif warm:
        role = "warm"
    elif live is None and environment.release == record.stable:
        role = ""  # its live value is lost
    else:
        role = "candidate" if house.store.rollouts.in_progress(environment.service) else "left over"
    return EnvironmentView(
        colour=environment.colour,
        release=environment.release,
        version=release_version(house, environment.service, environment.release),
        role=role,
        instances=(
            *(_instance(i, is_up(i, servers.get(i.name), moves=moves)) for i in environment.instances),
            *_unseen(house, environment, servers, silent),
        ),
        warm_until=record.warm_until if warm else 0.0,
    )


def is_up(instance: Instance, known: tuple[Server, bool] | None, *, moves: bool) -> bool | None:
    """Return whether the proxy finds an instance up; None for one of which it does not know.

    What is at an address that the instance had before it moved says nothing of it.
    """
    if known is None:
        return None
    server, up = known
    return up and not (moves and server.address != instance.address)


def _instance(instance: Instance, up: bool | None) -> InstanceView:
    return InstanceView(
        instance.name,
        instance.address,
        instance.state,
        instance.health,
        up,
        instance.exit_code,
        instance.restarts,
        instance.host,
    )


def _unseen(
    house: AppContext, environment: Environment, servers: Mapping[str, tuple[Server, bool]], silent: Collection[str]
) -> Iterator[InstanceView]:
    """Yield what the proxy knows of instances whose host gives no answer."""
    for port in house.store.ports.of(environment.service):
        name = f"{environment.service}-r{port.release}-{port.index}"
        if port.host in silent and port.release == environment.release and name in servers:
            server, up = servers[name]
            yield InstanceView(name, server.address, "unknown", up=up, host=port.host)


def _lock(house: AppContext, service: str, rollout: Rollout | None) -> LockView | None:
    lock = house.store.locks.read(service)
    if lock is None:
        return None
    from deployer.views.status_parts import LockView

    version = release_version(house, service, rollout.release) if rollout else ""
    return LockView(
        lock.owner, lock.since, rollout.number if rollout else 0, version, f"{lock.host} (pid {lock.pid})", lock.purpose
    )


def _gate(house: AppContext, rollout: Rollout) -> Gate | None:
    from deployer.app.operations.approvals import gate_of

    return gate_of(house.store, rollout, house.clock.now())


def _approval(gate: Gate) -> ApprovalView:
    from deployer.views.status_parts import ApprovalView

    step = gate.step
    return ApprovalView(
        whose=step.whose(),
        count=step.count,
        given=gate.given,
        until=gate.until,
        share=step.share,
        expired=step.expired,
        by=step.by,
        role=step.role,
        own=step.own,
    )


def _next(
    house: AppContext, service: str, rollout: Rollout | None, safety: SafetyView | None, gate: Gate | None = None
) -> str:
    if rollout is None:
        return _next_of_rest(house, service)
    if house.store.locks.read(service) and gate:
        return "`deploy approve` lets it go on, `deploy approve --refuse` and `deploy abort` take it back"
    if house.store.locks.read(service):
        return "`deploy watch` follows it, `deploy abort` rolls it back"
    if safety and safety.over:
        return "`deploy abort` rolls it back, and so does `deploy resume`: its budget is spent"
    if rollout.outcome:
        return rollout.text  # why it is paused or stuck, and what leads on
    if rollout.phase == "back":
        return f"`deploy resume` finishes its rollback{': ' + rollout.text if rollout.text else ''}"
    return "its process is gone: `deploy resume` goes on, `deploy promote` finishes it, `deploy abort` rolls it back"


def _next_of_rest(house: AppContext, service: str) -> str:
    record = house.store.services.get(service)
    if not record.stable:
        return "`deploy up` deploys it"
    there = [r for r in house.store.releases.of(service) if record.contracted <= r.number < record.stable]
    return "`deploy rollback` returns to the previous release" if any(r.status == "good" for r in there) else ""

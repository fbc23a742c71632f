"""Answers to questions: what is live, what happened, why. They read; they change nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from deployer.app.evictions import eviction
from deployer.app.migrations import backup_of, migration
from deployer.app.observe import is_served, lost, observe
from deployer.core import later
from deployer.core.clock import stamp
from deployer.core.errors import DeployError, NothingInProgress, Refused
from deployer.model import PLACES, Environment, Instance, Live, Load, Observed, Phase, Place, Release, Server
from deployer.views.status_data import (
    ApprovalView,
    EnvironmentView,
    InstanceView,
    JobView,
    LockView,
    RolloutRow,
    SafetyView,
    StatusView,
)

if TYPE_CHECKING:
    from deployer.app.operations import AppContext, Gate
    from deployer.drivers.ports import Drivers
    from deployer.planning.steps import Step
    from deployer.store import Chain, JournalEntry, Rollout, ServiceRecord
    from deployer.views import data
else:
    data = later.module("deployer.views.data")


def services(house: AppContext) -> tuple[str, ...]:
    """List the services that this state folder knows."""
    return tuple(s.name for s in house.store.services.all())


def drivers_of(house: AppContext, service: str) -> Drivers:
    """Wire the drivers of a service from its newest release: no manifest file is needed."""
    releases = house.store.releases.of(service)
    if not releases:
        known = f"services here: {', '.join(services(house)) or 'none yet'}"
        raise Refused(f"{service} was never deployed from {house.store.folder}", known)
    return house.drivers(releases[0])


def learn_secrets(house: AppContext, service: str) -> None:
    """Know the secrets of all releases of which something may run, so that no text repeats them."""
    for release in house.store.releases.of(service):
        with suppress(Refused):  # the values are gone
            house.vault.load(service, release.number, frozenset(release.manifest.secrets))


def sides_of(house: AppContext, service: str) -> tuple[Release, Release | None]:
    """Give the release on trial, or the newest where none is, and the one that users are on."""
    rollout, stable = house.store.rollouts.in_progress(service), house.store.services.get(service).stable
    newest = house.store.releases.of(service)[0]
    candidate = house.store.releases.get(service, rollout.release) if rollout else newest
    return candidate, house.store.releases.get(service, stable) if stable else None


def release_version(house: AppContext, service: str, number: int) -> str:
    """Return the version of a release; "" for no release, "?" for one that was forgotten."""
    try:
        return house.store.releases.get(service, number).version if number else ""
    except Refused:
        return "?"


def status(house: AppContext, service: str) -> StatusView:
    """Read what is live: proxy, runtime, store; what cannot be read is listed among the problems."""
    drivers, record, problems = drivers_of(house, service), house.store.services.get(service), []
    live, environments, safety = None, [], None
    asleep: Mapping[Place, float] = {}
    rollout = house.store.rollouts.in_progress(service)
    observed: Observed | None = None
    load: Mapping[Place, Load] = {}
    problems += [unwritable.message] if (unwritable := house.store.database.unwritable) is not None else []
    try:
        traffic, silent = drivers.inspection.reachable()
        problems += [
            f"the proxy of {lost.name} is lost since {stamp(lost.since)} and does not have what the others have:"
            " `deploy doctor --fix` brings it up to date once it responds"
            for lost in drivers.traffic.lost(service)
        ]
        drivers = replace(drivers, traffic=traffic, inspection=traffic.inspection)
        problems += [f"the proxy of {host} is unreachable: {why}" for host, why in silent.items()]
        observed = observe(house.store, drivers, service)
        live, asleep = observed.live, observed.asleep
        load = drivers.inspection.load(service)
        for place in PLACES:
            if environment := observed.environment(place):
                view = _environment(house, drivers, environment, live, record, observed.silent)
                environments.append(replace(view, open=load.get(place, Load()).open))
        problems += [f"{host or 'this host'} is unreachable: {why}" for host, why in observed.silent.items()]
        safety = _safety(house, drivers, live, rollout)
        problems += filter(None, [house.store.events.last(rollout.number, "side.lost", "text")] if rollout else [])
    except DeployError as error:
        observed = None
        problems.append(str(error))
    serves = [e for e in environments if any(i.state == "running" for i in e.instances) or e.colour in asleep]
    stable = next((e.release for e in serves if e.role == "stable"), 0)
    released = house.store.releases.get(service, record.stable) if record.stable else None
    if observed is not None and (what := lost(house.store, observed)):
        problems.append(f"{what}: `deploy doctor --fix` writes it again")
    elif released and released.manifest.tenant and eviction(house.store, service):
        pass  # which is said with what the keeper does
    elif record.stable and not stable and observed is not None and not observed.silent:
        problems.append(f"r{record.stable} should be live, but nothing of it runs: `deploy up` brings it back")
    if stable and record.stable and stable != record.stable and rollout is None:
        problems.append(f"r{stable} is live, but r{record.stable} is recorded: `deploy resume` records it")
    jobs: tuple[JobView, ...] = ()
    if released and released.manifest.record().get("schedule"):
        from deployer.app.jobs import overview  # with the models of the manifest, which no other status needs

        try:
            jobs = overview.jobs(house, released)
        except DeployError as error:  # its timezone left this host
            problems.append(str(error))
    sized, kept = None, None
    if released:
        from deployer.app.keeper import outlook

        sized, kept, more = outlook.shown(house, drivers, released, observed, load)
        problems += more
    candidate, gate = (rollout.release, _gate(house, rollout)) if rollout else (0, None)
    return StatusView(
        service=service,
        stable=stable,
        stable_version=release_version(house, service, stable),
        candidate=candidate,
        candidate_version=release_version(house, service, candidate),
        share=_share(live, safety, house.clock.now()),
        lease=float(live.lease) if live else 0.0,
        environments=tuple(environments),
        lock=_lock(house, service, rollout),
        rollout=_row(house, rollout) if rollout else None,
        problems=tuple(problems),
        baseline=live.baseline if live else 0,
        safety=safety,
        next=_next(house, service, rollout, safety, gate) if observed else "`deploy doctor` says what is missing",
        approval=_approval(gate) if gate else None,
        served=is_served(house.store, service),
        read=observed is not None,
        jobs=jobs,
        size=sized,
        keeper=kept,
        migration=migration(house.store, released, observed) if released else None,
        tenant=(released.manifest.tenant or "") if released else "",
    )


def _safety(house: AppContext, drivers: Drivers, live: Live | None, rollout: Rollout | None) -> SafetyView | None:
    """Read what bounds the cost of a candidate that has users; the proxy counts, the recording knows the shielded."""
    if live is None or rollout is None or not live.share:
        return None
    from deployer.evidence.shared_recording import shielded

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
    servers = {s.name: (s, is_up) for s, is_up in drivers.traffic.servers(environment.service, environment.colour)}
    up = {name: is_up for name, (_, is_up) in servers.items()}
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
            *(_instance(i, up.get(i.name)) for i in environment.instances),
            *_unseen(house, environment, servers, silent),
        ),
        warm_until=record.warm_until if warm else 0.0,
    )


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
    """Give what the proxy knows of instances whose machine gives no answer."""
    for port in house.store.ports.of(environment.service):
        name = f"{environment.service}-r{port.release}-{port.index}"
        if port.host in silent and port.release == environment.release and name in servers:
            server, is_up = servers[name]
            yield InstanceView(name, server.address, "unknown", up=is_up, host=port.host)


def _lock(house: AppContext, service: str, rollout: Rollout | None) -> LockView | None:
    lock = house.store.locks.read(service)
    if lock is None:
        return None
    version = release_version(house, service, rollout.release) if rollout else ""
    return LockView(
        lock.owner, lock.since, rollout.number if rollout else 0, version, f"{lock.host} (pid {lock.pid})", lock.purpose
    )


def _gate(house: AppContext, rollout: Rollout) -> Gate | None:
    from deployer.app.operations.approvals import gate_of

    return gate_of(house.store, rollout, house.clock.now())


def _approval(gate: Gate) -> ApprovalView:
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


def _row(house: AppContext, rollout: Rollout) -> RolloutRow:
    return RolloutRow(
        number=rollout.number,
        strategy=rollout.strategy,
        origin=rollout.origin,
        release=rollout.release,
        version=release_version(house, rollout.service, rollout.release),
        outcome=rollout.outcome or "",
        exit=rollout.exit if rollout.outcome else None,
        started_at=rollout.started_at,
        seconds=(rollout.ended_at or house.clock.now()) - rollout.started_at,
        by=rollout.started_by,
        message=rollout.message,
        backup=backup_of(house.store, rollout),
    )


def history(house: AppContext, service: str, limit: int = 20) -> data.HistoryView:
    """List the rollouts of a service, the newest first."""
    drivers_of(house, service)
    from deployer.store.adoption import adopted

    rows = tuple(_row(house, r) for r in house.store.rollouts.of(service, limit, adjustments=True))
    rebuilt = adopted(house.store, service)
    return data.HistoryView(service, rows, rebuilt.at, rebuilt.by) if rebuilt else data.HistoryView(service, rows)


def releases(house: AppContext, service: str) -> data.ReleasesView:
    """List the releases of a service, the newest first."""
    stable = house.store.services.get(service).stable
    return data.ReleasesView(service, tuple(_release(r, stable) for r in house.store.releases.of(service)))


def _release(release: Release, stable: int) -> data.ReleaseRow:
    return data.ReleaseRow(
        release.number,
        release.version,
        release.image,
        release.image_id,
        release.status,
        release.created_at,
        release.created_by,
        release.git,
        release.message,
        release.config_hash,
        live=release.number == stable,
        signature=release.signature.explain() if release.signature else "",
    )


def audit(house: AppContext, limit: int = 20, service: str = "") -> data.AuditView:
    """List what the audit log has (of a service), the newest first."""
    return data.AuditView(
        service, tuple(data.AuditRow(**asdict(r)) for r in house.store.audit_log.newest(limit, service))
    )


def chain(file: str, found: Chain) -> data.ChainView:
    """Tell what following the audit log found; `file` is empty for the store's."""
    return data.ChainView(file, found.records, found.head, found.broken, found.problem, found.since)


def newest(house: AppContext, service: str) -> int:
    """Give the number of the newest rollout. Raises Refused when there is none."""
    rollouts = house.store.rollouts.of(service, 1)
    if not rollouts:
        raise Refused(f"{service} has no rollouts yet", "`deploy up` makes the first")
    return rollouts[0].number


def in_progress(house: AppContext, service: str) -> int:
    """Return the number of the rollout in progress. Raise Refused when there is none."""
    rollout = house.store.rollouts.in_progress(service)
    if rollout is None:
        raise NothingInProgress(service)
    return rollout.number


def show(house: AppContext, number: int) -> data.RolloutView:
    """Tell a rollout in full: steps, journal, events."""
    rollout = house.store.rollouts.get(number)
    entries = {(e.phase, e.n): e for e in house.store.journal.of(number)}
    steps = [_step("forward", n, s, entries) for n, s in enumerate(rollout.plan.forward)]
    if rollout.phase == "back":
        steps += [_step("back", n, s, entries) for n, s in enumerate(rollout.plan.back)]
    events = tuple(e.to_dict() for e in house.store.events.of(number))
    served = all(r.served for r in house.store.releases.of(rollout.service) if r.number == rollout.release)
    return data.RolloutView(rollout.service, _row(house, rollout), tuple(steps), events, served)


def _step(phase: Phase, n: int, step: Step, entries: dict[tuple[Phase, int], JournalEntry]) -> data.JournalRow:
    entry = entries.get((phase, n))
    if entry is None:
        return data.JournalRow(phase, n, step.kind, step.explain(), "waiting")
    return data.JournalRow(
        phase,
        n,
        step.kind,
        step.explain(),
        "tried" if entry.state == "begun" else entry.state,
        entry.began_at,
        (entry.ended_at or entry.began_at) - entry.began_at,
        str(entry.detail.get("error", "")),
    )

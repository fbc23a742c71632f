"""Answers to questions: what happened, and why. They read; they change nothing."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from deployer.app.migrations import backup_of
from deployer.core import later
from deployer.core.errors import NothingInProgress, Refused
from deployer.model import Phase, Release

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.drivers.ports import Drivers
    from deployer.planning.steps import Step
    from deployer.store import Chain, JournalEntry, Rollout
    from deployer.views import data
    from deployer.views.status_parts import RolloutRow
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
    """Return the release on trial, or the newest where none is, and the one that users are on."""
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


def rollout_row(house: AppContext, rollout: Rollout) -> RolloutRow:
    """Return a rollout as lists show it."""
    from deployer.views.status_parts import RolloutRow

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

    rows = tuple(rollout_row(house, r) for r in house.store.rollouts.of(service, limit, adjustments=True))
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
    """Return what following the audit log found; `file` is empty for the store's."""
    return data.ChainView(file, found.records, found.head, found.broken, found.problem, found.since)


def newest(house: AppContext, service: str) -> int:
    """Return the number of the newest rollout. Raises Refused when there is none."""
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
    """Return a rollout in full: steps, journal, events."""
    rollout = house.store.rollouts.get(number)
    entries = {(e.phase, e.n): e for e in house.store.journal.of(number)}
    steps = [_step("forward", n, s, entries) for n, s in enumerate(rollout.plan.forward)]
    if rollout.phase == "back":
        steps += [_step("back", n, s, entries) for n, s in enumerate(rollout.plan.back)]
    events = tuple(e.to_dict() for e in house.store.events.of(number))
    served = all(r.served for r in house.store.releases.of(rollout.service) if r.number == rollout.release)
    return data.RolloutView(rollout.service, rollout_row(house, rollout), tuple(steps), events, served)


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

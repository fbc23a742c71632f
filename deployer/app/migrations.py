"""The migrations of a service: the backups that were made, and how far the live release has come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.core.clock import stamp
from deployer.core.errors import Refused
from deployer.planning.orders import CONTRACT
from deployer.store import Rollout, Store

if TYPE_CHECKING:
    from deployer.model import Observed, Release
    from deployer.store import ServiceRecord
    from deployer.views.status_parts import MigrationView


def backup_of(store: Store, rollout: Rollout) -> str:
    """Return the id of the backup that a rollout made; "" for none."""
    from deployer.planning.migration_steps import Migrate  # which few plans have

    if not any(isinstance(step, Migrate) and step.when == "backup" for step in rollout.plan.forward):
        return ""
    return store.journal.backup(rollout.number)


def contracting(store: Store, rollout: Rollout) -> bool:
    """Return whether a rollout is a contract of which something was run: it is not taken back for others."""
    return rollout.strategy == CONTRACT and store.services.get(rollout.service).contracted == rollout.release


def refuse_contracting(store: Store, rollout: Rollout | None) -> None:
    """Raise Refused for a rollback while a contract is in progress of which something was run."""
    if rollout is not None and contracting(store, rollout):
        raise Refused(
            f"the contract of r{rollout.release} has begun (rollout {rollout.number}): no release before it comes back",
            "`deploy resume` ends it, where its process is gone; `deploy watch` follows it",
        )


def migration(store: Store, release: Release, observed: Observed | None) -> MigrationView | None:
    """Return how far the migration of the live release has come; None where it has none, and none came before."""
    record, section = store.services.get(release.service), release.manifest.record().get("migrate") or {}
    if not section and not record.contracted:
        return None
    past = store.rollouts.of_release(release.service, release.number, CONTRACT)
    from deployer.views.status_parts import MigrationView

    state, text = _contract(release, observed, record, past) if section.get("contract") else ("none", "")
    return MigrationView(
        release=release.number,
        version=release.version,
        contract=state,
        text=text,
        backups=tuple(found for r in past if (found := backup_of(store, r))),
        oldest=record.contracted,
    )


def _contract(
    release: Release, observed: Observed | None, record: ServiceRecord, past: tuple[Rollout, ...]
) -> tuple[str, str]:
    name = f"contract of r{release.number}"
    run = next((r for r in past if r.strategy == CONTRACT), None)
    if run is not None and run.open:
        return "in progress", f"{name} is in progress (rollout {run.number})"
    if run is not None and run.outcome == "done":
        return "done", f"{name} is done"
    if record.contracted == release.number and run is not None:
        return "failed", f"{name} has begun and not ended, `deploy migrate contract` runs it again: {run.text}"
    former = observed.environment(observed.live.candidate) if observed and observed.live else None
    if former is None:
        return "due", f"{name} is due: `deploy migrate contract`"
    what = f"r{former.release} ({former.colour})"
    kept = f", which is kept warm until {stamp(record.warm_until)}" if former.release == record.warm else ""
    return "waits", f"{name} is due when {what} is gone{kept}"

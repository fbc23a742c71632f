"""Plans as views: what a deploy or a rollback would do, and what of the release differs from the live one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deployer.app.observe import observe
from deployer.app.queries import drivers_of, release_version
from deployer.core.errors import DeployError
from deployer.model import Release, newest_good
from deployer.views import data

if TYPE_CHECKING:
    from deployer.app.operations import AppContext, DeployPlan
    from deployer.planning.plan import Plan


def explain(proposal: DeployPlan) -> data.PlanView:
    """Return a plan in sentences, with what differs from the release that is live."""
    from deployer.app import forecast

    plan, release, stable = proposal.plan, proposal.release, proposal.observed.stable
    return replace(
        _view(plan, release.version, stable.version if stable else ""),
        notes=(*_signed(release), *plan.notes, *forecast.evidence(plan, release.manifest, proposal.traffic)),
        changes=_changes(stable, release),
        commit=plan.commit,
        plan=plan.to_dict(),
    )


def way_back(house: AppContext, service: str) -> data.PlanView | None:
    """Return what `deploy rollback` would do to a service that rests; None where it can go back to nothing."""
    from deployer.planning.rollback import rollback_plan

    record = house.store.services.get(service)
    earlier = newest_good(house.store.releases.of(service), record.stable) if record.stable else None
    if earlier is None or earlier.number < record.contracted:
        return None
    try:
        observed = observe(house.store, drivers_of(house, service), service)
        plan = rollback_plan(observed, earlier, house.store.releases.get(service, record.stable))
    except DeployError:  # what cannot be read is told by the status
        return None
    return _view(plan, earlier.version, release_version(house, service, plan.origin))


def _view(plan: Plan, version: str, origin_version: str) -> data.PlanView:
    """Return the sentences of a plan."""
    return data.PlanView(
        service=plan.service,
        strategy=plan.strategy,
        origin=plan.origin,
        release=plan.release,
        version=version,
        forward=tuple(s.explain() for s in plan.forward),
        back=tuple(s.explain() for s in plan.back),
        notes=plan.notes,
        origin_version=origin_version,
    )


def _signed(release: Release) -> tuple[str, ...]:
    return (release.signature.explain(),) if release.signature else ()


def _changes(stable: Release | None, release: Release) -> tuple[str, ...]:
    if stable is None:
        return (f"image: {release.image}",)
    changes = [] if stable.image_id == release.image_id else [f"image: {stable.image} → {release.image}"]
    old, new = _flat(stable.manifest.record()), _flat(release.manifest.record())
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) != new.get(path) and path not in ("image", "version"):
            changes.append(f"{path}: {old.get(path, 'unset')} → {new.get(path, 'unset')}")
    return tuple(changes)


def _flat(data: object, path: str = "") -> dict[str, object]:
    if isinstance(data, dict) and data:
        flat: dict[str, object] = {}
        for key, value in data.items():
            flat |= _flat(value, f"{path}.{key}" if path else str(key))
        return flat
    return {path: data}

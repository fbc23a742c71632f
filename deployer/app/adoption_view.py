"""What a survey has found, as `deploy adopt` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.model import PLACES
from deployer.views import data

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.app.operations.adoption import Survey
    from deployer.app.recovery import Recovery
    from deployer.store.adoption import Interrupted


def adoption(house: AppContext, found: Survey) -> data.AdoptionView:
    """Return what `deploy adopt` would record."""
    services = tuple(_adopted(one) for one in found.services)
    return data.AdoptionView(str(house.store.folder), found.installation, services, found.why, found.notes)


def _adopted(one: Recovery) -> data.AdoptedService:
    versions = {release.number: release.version for release in one.records.releases}
    here = ((place, one.observed.environment(place)) for place in PLACES)
    live, rollout = one.observed.live, one.records.rollout
    return data.AdoptedService(
        service=one.records.service,
        stable=one.records.stable,
        warm=one.records.warm,
        share=live.share if live else 0,
        rollout=rollout.number if rollout else 0,
        text=_open(rollout) if rollout else "",
        environments=tuple(
            data.AdoptedEnvironment(p, e.release, versions.get(e.release, ""), one.roles[p], len(e.instances))
            for p, e in here
            if e is not None
        ),
        lost=one.lost,
    )


def _open(rollout: Interrupted) -> str:
    return f"{rollout.text}; `deploy abort` rolls it back" if rollout.back else rollout.text

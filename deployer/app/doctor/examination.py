"""Everything that `deploy doctor` looks at."""

from __future__ import annotations

from pathlib import Path

from deployer.app.doctor.finding import Discrepancy
from deployer.app.doctor.garbage import leftovers
from deployer.app.doctor.host import this_host
from deployer.app.doctor.services import service
from deployer.app.homes import home_of, is_elsewhere
from deployer.app.operations import AppContext
from deployer.app.queries import services
from deployer.manifest.models import Manifest
from deployer.views.data import DoctorView


def examine(house: AppContext, manifest: Manifest | None, folder: Path = Path()) -> DoctorView:
    """Look at everything and change nothing; a check that itself fails is a finding, not an error.

    `folder` is that of the manifest.
    """
    return DoctorView(tuple(d.finding() for d in differences(house, manifest, folder)))


def _elsewhere(house: AppContext, name: str) -> Discrepancy:
    home = home_of(house.store, name)
    return Discrepancy("ok", name, f"is reached from its control host alone, {home}: `deploy doctor` there says more")


def differences(house: AppContext, manifest: Manifest | None, folder: Path = Path()) -> list[Discrepancy]:
    """Return all that was looked at, with what puts it right."""
    found = [*this_host(house, manifest, folder)]
    for name in services(house):
        found += [_elsewhere(house, name)] if is_elsewhere(house.store, name) else service(house, name)
    return [*found, *leftovers(house)]

"""Everything that `deploy doctor` looks at."""

from __future__ import annotations

from pathlib import Path

from deployer.doctor.difference import Difference
from deployer.doctor.leftovers import leftovers
from deployer.doctor.machine import machine
from deployer.doctor.services import service
from deployer.manifest.models import Manifest
from deployer.operations import House
from deployer.queries import services
from deployer.views.data import DoctorView


def examine(house: House, manifest: Manifest | None, folder: Path = Path()) -> DoctorView:
    """Look at everything and change nothing; a check that itself fails is a finding, not an error.

    `folder` is that of the manifest.
    """
    return DoctorView(tuple(d.finding() for d in differences(house, manifest, folder)))


def differences(house: House, manifest: Manifest | None, folder: Path = Path()) -> list[Difference]:
    """Give all that was looked at, with what puts it right."""
    found = [*machine(house, manifest, folder)]
    for name in services(house):
        found += service(house, name)
    return [*found, *leftovers(house)]

"""`deploy tenants`: to whom hosts are lent, under which terms, and what is live there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.cli.session import house
from deployer.core.errors import Exit

if TYPE_CHECKING:
    from deployer.manifest.target import Target

INVENTORY = click.option(
    "-i",
    "--inventory",
    type=click.Path(path_type=Path),
    help="Ansible inventory beside which tenants.yml is; default: the manifest's, else this folder.",
)


def file_of(target: Target, inventory: Path | None) -> Path:
    """Return the `tenants.yml` that a command means. Raise ManifestRefused for a manifest that is wrong."""
    from deployer.manifest.tenants import path_for

    folder = target.file.absolute().parent
    named = str(inventory.absolute()) if inventory else None
    if named is None and target.file.exists():
        from deployer.manifest.load import load

        named = load(target.file, destination=target.destination, environ=os.environ).manifest.inventory
    return path_for(named, folder, os.environ)


@click.command("tenants")
@common("file", "destination")
@INVENTORY
def tenants(common: Common, inventory: Path | None) -> int:
    """List the tenants of tenants.yml: what each may have on a host, and which of its services are live."""
    from deployer.app.guests import overview

    file = file_of(common.target, inventory)
    with house(common) as opened:
        print_result(overview(opened, file), common.output)
    return int(Exit.DONE)

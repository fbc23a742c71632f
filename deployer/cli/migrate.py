"""`deploy migrate`: how far the migration of the live release has come, and its contract."""

from __future__ import annotations

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.orders import carry_out
from deployer.cli.output import print_result
from deployer.core.errors import Exit, Refused
from deployer.planning.orders import Order


@click.group("migrate")
def group() -> None:
    """Show and end the migration of the live release: `migrate` in the manifest."""


@group.command("status")
@common("file", "destination", "service")
def status(common: Common) -> int:
    """Show whether the contract is due, and the ids of the backups."""
    with open_app(common) as app:
        found = app.status(app.service())
    if found.migration is None:
        why = f"r{found.stable} ({found.stable_version}) has no `migrate`" if found.stable else "no release is live"
        raise Refused(f"{found.service}: {why}", "docs/migrations.md shows one")
    print_result(found.migration, common.output)
    return int(Exit.DONE)


@group.command("contract")
@common("file", "destination", "service", "message")
@click.option("--drop-warm", is_flag=True, help="Remove the former release now, while it is kept for a rollback.")
def contract(common: Common, drop_warm: bool) -> int:
    """Remove from the database what only former releases needed.

    It is refused while a former release still exists. Once its first command has begun, no release before the live one
    can come back.
    """
    return carry_out(common, Order("contract", reason=common.message, drop=drop_warm))

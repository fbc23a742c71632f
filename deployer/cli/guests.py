"""`deploy tenants`, `deploy guests`, `deploy evict`: to whom hosts are lent, what runs there, and who has to go."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common, is_for_command
from deployer.cli.output import open_view, print_result
from deployer.cli.session import house
from deployer.cli.values import duration
from deployer.core.errors import Exit

if TYPE_CHECKING:
    from deployer.manifest.target import Target

_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
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


@click.group("guests", invoke_without_command=True)
@common()
@click.pass_context
def guests(ctx: click.Context, common: Common) -> int:
    """List the services of tenants: what runs of each, who was evicted and why, and what their tenants use."""
    if is_for_command(ctx):
        return int(Exit.DONE)
    from deployer.app.guests import listing

    with house(common) as opened:
        print_result(listing(opened), common.output)
    return int(Exit.DONE)


def _month(_ctx: click.Context, _param: click.Parameter, text: str | None) -> str:
    """Return a month as it is written, by default the present one. Raise BadParameter."""
    if text is not None and not _MONTH.fullmatch(text):
        raise click.BadParameter(f"must be a month such as 2026-11, not {text[:40]}")
    return text or time.strftime("%Y-%m", time.gmtime())


@guests.command("report")
@common()
@click.option("--month", metavar="YYYY-MM", callback=_month, help="Which month, in UTC; default: this one.")
def report(common: Common, month: str) -> int:
    """Print as CSV what each tenant has used of each host in a month: processor-seconds, GiB-hours, evictions.

    The keeper counts once a minute; while no keeper runs, memory is not counted.
    """
    from deployer.app.guests import bill

    with house(common) as opened:
        print_result(bill(opened, month), common.output)
    return int(Exit.DONE)


@click.command("evict")
@common("message")
@click.argument("tenant", required=False, default="")
@click.option("--now", is_flag=True, help="Give the instances no time to end.")
@click.option("--for", "span", metavar="TIME", help="Let them in again after this time, such as 2h (with a keeper).")
@click.option("--end", is_flag=True, help="Let them in again now.")
def evict(common: Common, tenant: str, now: bool, span: str | None, end: bool) -> int:
    """Evict the guests of TENANT, or of all tenants: the owner gets processors back at once, and memory a little later.

    Instances are frozen, then given the time to end that tenants.yml has under `evict`. What the keeper has evicted
    comes back by itself when there is room; after this command guests stay away until --end, or for the time of --for.
    """
    if end and (now or span):
        raise click.UsageError("--end goes with neither --now nor --for")
    if not end and not common.message:
        raise click.UsageError("say why: -m TEXT")
    seconds = duration(span) if span else 0.0
    with open_view(common.output) as view, open_app(common) as app:
        if end:
            ended = app.guests.admit(tenant, common.message, view)
        else:
            ended = app.guests.evict(tenant, common.message, view, now=now, seconds=seconds)
    if common.output != "json":
        for service, each in ended.items():
            click.echo(f"{service}: {each.text}")
    return max((int(each.exit) for each in ended.values()), default=int(Exit.DONE))

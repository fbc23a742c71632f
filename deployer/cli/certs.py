"""`deploy certs`: the certificates of all services, and those that are got by themselves."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from deployer.cli.options import Common, common, is_for_command
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house
from deployer.core.errors import Exit, Refused

if TYPE_CHECKING:
    from deployer.app.operations.certificates import DomainResult

_MARKS = {"kept": "✓", "due": "·", "issued": "✓", "waiting": "!", "failed": "✗"}


@click.group("certs", invoke_without_command=True)
@common()
@click.pass_context
def certs(ctx: click.Context, common: Common) -> int:
    """List certificates: domain, issuer, days left, and the serial number that each proxy shows to a client."""
    if is_for_command(ctx):
        return int(Exit.DONE)
    from deployer.app.certificates import listed

    with house(common) as opened:
        print_result(listed(opened), common.output)
    return int(Exit.DONE)


@certs.command("renew")
@common()
@click.argument("domain", metavar="[DOMAIN]", required=False)
@click.option("--dry-run", is_flag=True, help="Say what would be ordered; order nothing.")
def renew(common: Common, domain: str | None, dry_run: bool) -> int:
    """Order the certificates that are due (with DOMAIN: that one, due or not); exit with 4 if an order failed.

    For `tls: auto`. Run it twice a day from a timer where no `deploy serve` runs. A failed order is tried
    again after a pause that grows, but not before the time that the authority names.
    """
    from deployer.app.attendance import CERTIFICATES, announced
    from deployer.app.certificates import warn
    from deployer.app.operations.certificates import renew as renewed

    failed = False
    with open_lines(common.output) as sink, house(common, sink) as opened:
        every = not domain and not dry_run
        with announced(opened.store, CERTIFICATES) if every else nullcontext():
            for one in renewed(opened, (domain or "").lower(), dry_run=dry_run):
                _print(common, one)
                failed |= one.state == "failed"
            if every:
                warn(opened)
    return int(Exit.FAILED if failed else Exit.DONE)


@certs.command("import")
@common()
@click.argument("domain")
@click.option(
    "--cert",
    type=click.Path(path_type=Path),
    required=True,
    help="The certificate, followed by its chain, PEM.",
)
@click.option("--key", type=click.Path(path_type=Path), required=True, help="The key of the certificate, PEM.")
def import_(common: Common, domain: str, cert: Path, key: Path) -> int:
    """Use a certificate that you have already for a domain with `tls: auto`, until deployer renews it.

    So a service that moves to deployer has a certificate all the time.
    """
    from deployer.app.operations.certificates import bring

    with house(common) as opened:
        _print(common, bring(opened, domain.lower(), _read(cert), _read(key)))
    return int(Exit.DONE)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{file} cannot be read: {error}", "it must be PEM") from None


def _print(common: Common, one: DomainResult) -> None:
    if common.output == "json":
        sys.stdout.write(json.dumps(asdict(one)) + "\n")
    else:
        what, arrow, hint = one.sentence.partition(" → ")
        sys.stdout.write(f"{_MARKS[one.state]} {what}\n" + (f"    → {hint}\n" if arrow else ""))
    sys.stdout.flush()

"""`deploy audit`: who did what, and whether what is recorded is still what was written."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from deployer.app import queries
from deployer.cli.opening import open_app
from deployer.cli.options import Common, common, is_for_command
from deployer.cli.output import print_result, save
from deployer.cli.session import house
from deployer.cli.values import WholeNumber
from deployer.core.errors import Exit, Refused

_HASH = re.compile(r"[0-9a-f]{64}")


@click.group("audit", invoke_without_command=True)
@common()
@click.option("--service", metavar="NAME", help="Only this service; default: all.")
@click.option("--limit", default=20, show_default=True, type=WholeNumber(1, 100_000), help="Number of records to list.")
@click.pass_context
def audit(ctx: click.Context, common: Common, service: str | None, limit: int) -> int:
    """List who did what, why, from where, and the result; newest first."""
    if is_for_command(ctx):
        return int(Exit.DONE)
    with open_app(common) as there:
        print_result(there.audit(limit, service or ""), common.output)
    return int(Exit.DONE)


@audit.command("verify")
@common()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "--head", metavar="HASH", default="", help="A hash that the log ended with earlier; the log must still contain it."
)
def verify(common: Common, file: Path | None, head: str) -> int:
    """Verify the audit log, or an exported FILE; exit with 8 if a record was changed or is missing.

    Somebody with write access to the state database could rewrite the chain from any record on. Only a hash that is
    kept elsewhere reveals that: keep the printed hash, and pass it as --head.
    """
    if head and not _HASH.fullmatch(head):
        raise Refused(f"{head} is not a hash of the audit log", "it has 64 digits, 0 to 9 and a to f")
    if file is not None:
        from deployer.store.audit_chain import verify_file

        view = queries.chain(str(file), verify_file(file, head))
    else:
        with house(common) as opened:
            view = queries.chain("", opened.store.audit_log.verify(head))
    print_result(view, common.output)
    return int(Exit.NEEDS_PERSON if view.broken else Exit.DONE)


@audit.command("export")
@common()
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File to write; default: stdout.")
def export(common: Common, out: Path | None) -> int:
    """Export the whole log as JSON lines; `deploy audit verify FILE` can verify the export."""
    with house(common) as opened:
        lines = opened.store.audit_log.export()
        if out is None:
            for line in lines:
                sys.stdout.write(f"{line}\n")
            return int(Exit.DONE)
        text = "".join(f"{line}\n" for line in lines)
    save(text, out)
    return int(Exit.DONE)

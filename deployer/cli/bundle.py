"""`deploy bundle`: a release in one file, for hosts without a registry."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.options import Common, common
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house
from deployer.core.errors import Exit
from deployer.planning.orders import Order

if TYPE_CHECKING:
    from deployer.views.bundle_data import BundleView

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group("bundle")
def group() -> None:
    """Put a release into one file, which `deploy up --from FILE` deploys on a host without a registry."""


@group.command("make")
@common("file", "destination", "message")
@click.option("-o", "--to", "to", metavar="FILE", type=click.Path(path_type=Path), required=True, help="The bundle.")
@click.option("--version", "version", metavar="V", help="Version to put in; overrides the manifest.")
@click.option("--dirty", is_flag=True, help="With `build`: also build changes that are not committed.")
@click.option(
    "--include", metavar="PATH", multiple=True, help="A further file or folder beside the manifest; may be repeated."
)
@click.option(
    "--since",
    metavar="OLD",
    type=click.Path(path_type=Path),
    help="Leave out what this older bundle brings: layers of the image, files.",
)
@click.option(
    "--sign", "key", metavar="KEY", type=click.Path(path_type=Path), help="Sign it with this SSH key (ssh-keygen -Y)."
)
@click.option(
    "--with",
    "tool",
    type=click.Choice(["deployer"]),
    help="Put the tool itself in, for hosts with Python of this version only: `sh FILE up`.",
)
def make(common: Common, to: Path, include: tuple[str, ...], since: Path | None, key: Path | None, **given: Any) -> int:
    """Write a bundle: image or directory, the manifest with everything filled in, playbooks, hooks, strategies.

    The same input gives the same file, byte by byte. Secrets, and keys of certificates, are never in it. Who, when and
    why are those of the Git commit; -m replaces why, $SOURCE_DATE_EPOCH when.
    """
    from deployer.app.bundles.make import Wish
    from deployer.app.bundles.make import make as made
    from deployer.app.bundles.view import look
    from deployer.app.operations.dispatch import request_of

    order = Order(
        "plan",
        manifest=str(common.file),
        destination=common.destination or "",
        version=given["version"] or "",
        reason=common.message,
        dirty=given["dirty"],
    )
    request = request_of(order, os.environ)
    with open_lines(common.output) as sink, house(common, sink) as opened:
        notes = made(opened, request, Wish(to, include, since, key, given["tool"] is not None))
    return _print(common, look(to, checked=False, notes=notes))


@group.command("show")
@common()
@_FILE
def show(common: Common, file: Path) -> int:
    """Show what is in a bundle, and where it comes from; `deploy bundle verify` reads all of it."""
    from deployer.app.bundles.view import look

    return _print(common, look(file, checked=False))


@group.command("verify")
@common()
@_FILE
@click.option(
    "--signers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The keys one of which must have signed: ssh-keygen(1), ALLOWED SIGNERS.",
)
def verify(common: Common, file: Path, signers: Path | None) -> int:
    """Read every byte of a bundle; exit with 2, and say where, if one is not as it was made."""
    from deployer.app.bundles.view import look

    return _print(common, look(file, checked=True, signers=signers))


@group.command("send")
@common()
@_FILE
@click.argument("host", metavar="HOST")
@click.option("--ssh-args", metavar="TEXT", default="", help="Extra arguments for ssh, quoted as in a shell.")
def send(common: Common, file: Path, host: str, ssh_args: str) -> int:
    """Send a bundle to ssh://[USER@]HOST[:PORT][/FOLDER], without the parts that are there already.

    deployer must be installed there. What arrives is a delta for that host; `deploy up --from FILE` there deploys it.
    """
    from deployer.app.bundles.wire import send as sent
    from deployer.client.control import Control
    from deployer.core.clock import SystemClock
    from deployer.views.bundle_data import SentView

    control = Control.of(host, "HOST", ssh_args)
    done = sent(file, control.there, control.folder, SystemClock())
    print_result(SentView(control.host, done.file, done.bytes, file.stat().st_size), common.output)
    return int(Exit.DONE)


@group.command("receive", hidden=True)
@common()
@click.option("--stdio", is_flag=True, required=True, help="Serve one sender on stdin and stdout.")
def receive(common: Common, stdio: bool) -> int:  # noqa: ARG001 - there is no other way
    """(internal) Receive a bundle from `deploy bundle send`, over ssh."""
    from deployer.app.bundles.wire import receive as received

    outward = os.dup(1)
    os.dup2(2, 1)  # whatever else is printed must not come between the answers
    with house(common) as opened, os.fdopen(0, "rb", closefd=False) as source, os.fdopen(outward, "wb") as target:
        received(opened, source, target)
    return int(Exit.DONE)


def _print(common: Common, view: BundleView) -> int:
    print_result(view, common.output)
    return int(Exit.DONE)

"""`deploy bundle`: a release in one file, for hosts without a registry."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.options import BUNDLE_TRUST, DIRTY, Common, common, every
from deployer.cli.orders import carry_out
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house
from deployer.core.errors import Exit
from deployer.planning.orders import Order

if TYPE_CHECKING:
    from deployer.app.bundles.first import FirstStart
    from deployer.views.bundle_data import BundleView

_FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group("bundle")
def group() -> None:
    """Pack a release into one file, which `deploy up --from FILE` deploys on a host without a registry."""


@group.command("make")
@common("file", "destination", "message")
@click.option(
    "-o", "--to", "to", metavar="FILE", type=click.Path(path_type=Path), required=True, help="The file to write."
)
@click.option("--version", "version", metavar="V", help="Version of the release; overrides the manifest.")
@DIRTY
@click.option(
    "--include",
    metavar="PATH",
    multiple=True,
    help="Add this file or folder, which lies beside the manifest; may be repeated.",
)
@click.option(
    "--since",
    metavar="OLD",
    type=click.Path(path_type=Path),
    help="Leave out the image layers and files that this older bundle has; the host needs that one, too.",
)
@click.option(
    "--sign",
    "key",
    metavar="KEY",
    type=click.Path(path_type=Path),
    help="Sign it with this key of SSH (ssh-keygen -Y), minisign or cosign.",
)
@click.option(
    "--secrets-for",
    "recipients",
    metavar="KEY",
    multiple=True,
    help="Include the secrets, encrypted with age for this recipient: age1…, an SSH public key, or a file of these; may"
    " be repeated.",
)
@click.option(
    "--with",
    "more",
    type=click.Choice(["deployer", "data"]),
    multiple=True,
    help="deployer: include deployer itself, for hosts that have only this version of Python (`sh FILE up`)."
    " data: include the data of the service, which must be stopped. May be repeated.",
)
def make(common: Common, to: Path, include: tuple[str, ...], since: Path | None, key: Path | None, **given: Any) -> int:
    """Write a bundle: the image or directory, the manifest with its variables filled in, playbooks, hooks, strategies.

    The same input gives the same file, byte for byte, except for secrets, which are included only with --secrets-for.
    Keys of certificates are never included. Author, time and message are those of the Git commit; -m replaces the
    message, $SOURCE_DATE_EPOCH the time.
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
        more = given["more"]
        wish = Wish(to, include, since, key, "deployer" in more, given["recipients"], "data" in more)
        notes = made(opened, request, wish)
    return _print(common, look(to, checked=False, notes=notes))


@group.command("run")
@common("message", "report", "on_cancel", "yes")
@_FILE
@click.option("--listen", metavar="ADDRESS", help="The address that users reach on this host, e.g. *:8080.")
@click.option("--domain", "domains", metavar="NAME", multiple=True, help="A name of the service; may be repeated.")
@every(BUNDLE_TRUST)
def run(common: Common, file: Path, listen: str | None, domains: tuple[str, ...], **trust: Any) -> int:
    """Start a service from a bundle for the first time.

    It asks for the addresses, and for secrets that have no value on this host; then it deploys. Answers are kept in the
    current folder: secrets where the manifest looks for them, addresses in SERVICE.here.yml, which later bundles of the
    service use, too. Without a terminal it asks nothing and names what is missing.
    """
    from deployer.app.bundles.first import first_start, keep_settings

    given: dict[str, Any] = {"traffic.listen": listen, "traffic.domains": list(domains)}
    given = {key: value for key, value in given.items() if value}
    order = Order(
        "start",
        reason=common.message,
        bundle=str(file),
        signers=str(trust["signers"] or ""),
        unsigned=trust["allow_unsigned"],
        identity=str(trust["identity"] or ""),
        data=trust["data"] or "",
    )
    with open_lines(common.output) as sink, house(common, sink) as opened:
        start = first_start(opened, order, os.environ, given)
        if sys.stdin.isatty() and not common.yes:
            given = _asked(start, given)
        start.refuse_lacking(os.environ)
        if given:
            keep_settings(start, given)
    return carry_out(common, order)


@group.command("show")
@common()
@_FILE
def show(common: Common, file: Path) -> int:
    """Show what is in a bundle, and where it comes from. `deploy bundle verify` reads all of it."""
    from deployer.app.bundles.view import look

    return _print(common, look(file, checked=False))


@group.command("verify")
@common()
@_FILE
@click.option(
    "--signers",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Public keys, one of which must have signed it: allowed signers (ssh-keygen(1)), a key of minisign or"
    " cosign, or a folder of these.",
)
def verify(common: Common, file: Path, signers: Path | None) -> int:
    """Read every byte of a bundle. Exit with 2, and say where, if one was changed."""
    from deployer.app.bundles.view import look

    return _print(common, look(file, checked=True, signers=signers))


@group.command("send")
@common()
@_FILE
@click.argument("host", metavar="HOST")
@click.option("--ssh-args", metavar="TEXT", default="", help="Extra arguments for ssh, quoted as in a shell.")
def send(common: Common, file: Path, host: str, ssh_args: str) -> int:
    """Send a bundle to another host, without the parts that it has already.

    HOST is ssh://[USER@]HOST[:PORT][/FOLDER], and deployer must be installed there. What arrives is a delta for that
    host; `deploy up --from FILE` there deploys it.
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


def _asked(start: FirstStart, given: dict[str, Any]) -> dict[str, Any]:
    """Ask for secrets, which are kept at once, and for the addresses that were not given; return these."""
    from pydantic import TypeAdapter, ValidationError

    from deployer.app.bundles.first import keep_secret, place_of
    from deployer.manifest.text import Domain, Listen

    def checked(kind: Any, value: Any) -> Any:
        try:
            return TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            raise click.BadParameter(error.errors()[0]["msg"].removeprefix("Value error, ")) from None

    for name, secret in start.secrets.items():
        question = f"Secret {name} (kept as {place_of(secret)})"
        keep_secret(secret, click.prompt(question, hide_input=True, err=True), Path.cwd())
    if start.known or not start.listen:
        return given
    if "traffic.listen" not in given:
        listen = click.prompt(
            "Address that users reach", start.listen, err=True, value_proc=lambda text: checked(Listen, text)
        )
        given |= {"traffic.listen": listen} if listen != start.listen else {}
    if start.domains and "traffic.domains" not in given:
        names = click.prompt(
            "Names that users reach it by, with commas between them",
            ",".join(start.domains),
            err=True,
            value_proc=lambda text: [checked(Domain, name.strip()) for name in text.split(",")],
        )
        given |= {"traffic.domains": names} if tuple(names) != tuple(start.domains) else {}
    return given


def _print(common: Common, view: BundleView) -> int:
    print_result(view, common.output)
    return int(Exit.DONE)

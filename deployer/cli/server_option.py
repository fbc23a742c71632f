"""`deploy --server URL`: the options of the whole program, and which commands go with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from deployer.remote.address import Server

META = "deployer.server"  # where the context of `deploy` keeps the server


def options() -> tuple[click.Option, ...]:
    """Make the options."""
    return (
        click.Option(
            ["--server"],
            metavar="URL",
            envvar="DEPLOY_SERVER",
            show_envvar=True,
            help="Ask the `deploy serve` there, not the state folder of this machine.",
        ),
        click.Option(
            ["--token-file"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="The token for it; else $DEPLOY_TOKEN, else the file $DEPLOY_TOKEN_FILE.",
        ),
        click.Option(
            ["--ca"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="Who may have signed its certificate, PEM; else $REQUESTS_CA_BUNDLE, else the usual authorities.",
        ),
    )


def server_of(ctx: click.Context) -> Server | None:
    """Give the server that the whole command line is for; None for this machine. Raises Refused, and UsageError."""
    root = ctx.find_root()
    if META not in root.meta:
        root.meta[META] = _read(root)
    found: Server | None = root.meta[META]
    return found


def _read(root: click.Context) -> Server | None:
    url = root.params.get("server") or ""
    if not url:
        for name, flag in (("token_file", "--token-file"), ("ca", "--ca")):
            if root.params.get(name):
                raise click.UsageError(f"{flag} goes with --server", root)
        return None
    from deployer.remote.address import Server

    here = root.get_parameter_source("server") is ParameterSource.COMMANDLINE
    told_by = "--server" if here else "DEPLOY_SERVER"
    return Server.of(url, told_by, root.params.get("token_file"), root.params.get("ca"))


def refuse_unserved(ctx: click.Context, name: str, *, served: bool) -> None:
    """Refuse a command that no server can be asked for."""
    server = server_of(ctx)
    if server is not None and not served:
        raise server.refusal(f"deploy {name}")

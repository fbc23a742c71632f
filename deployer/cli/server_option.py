"""`deploy --server URL` and `deploy --on URL`: options of the whole program, and which commands go with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from deployer.client.address import DeployServer
    from deployer.client.control import Control

META = "deployer.server"  # where the context of `deploy` keeps the server
WITH = {"token_file": "--server", "ca": "--server", "ssh_args": "--on"}  # what goes with which


def options() -> tuple[click.Option, ...]:
    """Make the options."""
    return (
        click.Option(
            ["--on"],
            metavar="URL",
            envvar="DEPLOYER_ON",
            show_envvar=True,
            help="Run the command on the control host ssh://[USER@]HOST[:PORT][/FOLDER].",
        ),
        click.Option(
            ["--ssh-args"],
            metavar="TEXT",
            envvar="DEPLOYER_SSH_ARGS",
            show_envvar=True,
            help="Extra arguments for ssh, quoted as in a shell: '-i KEY -J HOST'.",
        ),
        click.Option(
            ["--server"],
            metavar="URL",
            envvar="DEPLOYER_SERVER",
            show_envvar=True,
            help="Run the command on this deploy server instead of locally.",
        ),
        click.Option(
            ["--token-file"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="File with the server's token; else $DEPLOYER_TOKEN, else the file $DEPLOYER_TOKEN_FILE.",
        ),
        click.Option(
            ["--ca"],
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="CA bundle (PEM) for verifying the server; else $REQUESTS_CA_BUNDLE, else the system's.",
        ),
    )


def server_of(ctx: click.Context) -> DeployServer | Control | None:
    """Return the server or control host that the whole command line is for; None for this host.

    Raises Refused, and UsageError.
    """
    root = ctx.find_root()
    if META not in root.meta:
        root.meta[META] = _read(root)
    found: DeployServer | Control | None = root.meta[META]
    return found


def _read(root: click.Context) -> DeployServer | Control | None:
    way = _way(root)
    for name, needed in WITH.items():
        if needed != way and root.params.get(name) and _is_typed(root, name):
            raise click.UsageError(f"--{name.replace('_', '-')} goes with {needed}", root)
    if way == "--on":
        from deployer.client.control import Control

        told_by = "--on" if _is_typed(root, "on") else "DEPLOYER_ON"
        return Control.of(root.params["on"], told_by, root.params.get("ssh_args") or "")
    if way == "--server":
        from deployer.client.address import DeployServer

        told_by = "--server" if _is_typed(root, "server") else "DEPLOYER_SERVER"
        return DeployServer.of(root.params["server"], told_by, root.params.get("token_file"), root.params.get("ca"))
    return None


def _way(root: click.Context) -> str:
    """Return which of the two is meant: what was typed goes before the environment. Raises UsageError for both."""
    given = [name for name in ("on", "server") if root.params.get(name)]
    typed = [name for name in given if _is_typed(root, name)]
    meant = typed or given
    if len(meant) > 1:
        both = "--on and --server" if typed else "DEPLOYER_ON and DEPLOYER_SERVER"
        raise click.UsageError(f"{both} name two places: one of them", root)
    return f"--{meant[0]}" if meant else ""


def _is_typed(root: click.Context, name: str) -> bool:
    return root.get_parameter_source(name) is ParameterSource.COMMANDLINE


def refuse_unserved(ctx: click.Context, name: str, *, served: bool) -> None:
    """Refuse a command that no server can be asked for."""
    server = server_of(ctx)
    if server is not None and not served:
        raise server.refusal(f"deploy {name}")

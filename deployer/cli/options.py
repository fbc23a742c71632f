"""Options that many commands share, and what they amount to."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import click
from click.core import ParameterSource

from deployer.cli.output import OUTPUTS, Output
from deployer.cli.server_option import server_of
from deployer.cli.values import sentence
from deployer.core.local_host import state_folder

Shared = Literal["file", "destination", "state", "store", "output", "service", "message", "yes", "report", "on_cancel"]
if TYPE_CHECKING:
    from deployer.client.address import DeployServer
    from deployer.client.control import Control
    from deployer.manifest.target import Target

OnCancel = Literal["abort", "detach"]
EVERYWHERE: tuple[Shared, ...] = ("state", "store", "output")


@dataclass(frozen=True)
class Common:
    """The shared options of a command; those that it does not take have their defaults."""

    file: Path = Path("deploy.yml")
    destination: str | None = None
    state: Path = Path()
    output: Output = "text"
    service: str | None = None
    message: str = ""
    yes: bool = False
    report: Path | None = None
    on_cancel: OnCancel | None = (
        None  # what was asked for; else a terminal is asked, and without one it is `abort`, elsewhere `detach`
    )
    server: DeployServer | Control | None = None  # this host's state folder where there is none
    named: bool = False  # `file` was given, not taken by default
    state_named: bool = False  # `state` was given, not taken by default
    set_name: str | None = None  # of `deploy release`

    @property
    def target(self) -> Target:
        """The service and the manifest that are meant."""
        from deployer.manifest.target import Target

        return Target(self.service, self.file, self.destination or "", self.named, self.set_name)

    @property
    def detaches(self) -> bool:
        """Whether a signal leaves a rollout where it is, if nobody is asked."""
        return self.on_cancel == "detach" or (self.on_cancel is None and self.server is not None)


def default_state() -> Path:
    """Return the state folder: DEPLOYER_STATE, else the host's for root, else the user's."""
    return Path(state_folder())


def common(*names: Shared) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add to a command the shared options `names`, besides those of EVERYWHERE, as one argument `common`."""
    taken = tuple(dict.fromkeys((*names, *EVERYWHERE)))

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(**given: Any) -> Any:
            shared = {name: given.pop(name) for name in taken if name != "store"}
            return function(common=Common(**shared, **_surroundings()), **given)

        decorated: Callable[..., Any] = call
        for name in reversed(taken):
            decorated = OPTIONS[name](decorated)
        return decorated

    return decorate


DIRTY = click.option("--dirty", is_flag=True, help="With `build`: also build changes that are not committed.")
OVERRIDE_FREEZE = click.option(
    "--override-freeze",
    metavar="WHY",
    default="",
    callback=sentence,
    help="Deploy during a freeze window; the reason is recorded.",
)


def _use(store: str | None) -> None:
    """Let this process work with a store, and those that it starts: for them an argument would show a password."""
    if store is not None:
        os.environ["DEPLOYER_STORE"] = store


def every(options: Sequence[Callable[[Callable[..., Any]], Callable[..., Any]]]) -> Callable[..., Any]:
    """Add all of these options to a command, in their order."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def is_for_command(group: click.Context) -> bool:
    """Return whether a group that does something itself is called for one of its commands.

    Raise UsageError for options that stand before that command.
    """
    if not group.invoked_subcommand:
        return False
    if any(group.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in group.params):
        raise click.UsageError(f"write options after `{group.invoked_subcommand}`", group)
    return True


def _surroundings() -> dict[str, Any]:
    """Return what was given besides the options' values. Raises UsageError for what contradicts itself."""
    context = click.get_current_context()
    server = server_of(context)

    def given(name: str) -> bool:
        return context.get_parameter_source(name) is ParameterSource.COMMANDLINE

    if server is not None and given("state") and not server.has_state:
        raise click.UsageError(f"--state names a folder of this host, {server.told_by} a server: one of them")
    if server is not None and given("store"):
        raise click.UsageError(f"--store goes with a folder of this host, {server.told_by} names another one")
    return {"server": server, "named": given("file"), "state_named": given("state")}


log_format = click.option(
    "--log",
    "form",
    type=click.Choice(("text", "json")),
    default="text",
    show_default=True,
    help="Log format on stderr: text or JSON lines.",
)  # of commands that run until a signal

# Whose bundle is deployed, by what its secrets are opened, and what becomes of its data
BUNDLE_TRUST = (
    click.option(
        "--signers",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="Public keys, one of which must have signed the bundle; default: `bundle_signers` in the state folder.",
    ),
    click.option(
        "--allow-unsigned",
        metavar="WHY",
        default="",
        callback=sentence,
        help="Deploy a bundle that has no signature; the reason is recorded.",
    ),
    click.option(
        "--identity",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help="The age identity, or SSH key, that opens the secrets in the bundle.",
    ),
    click.option(
        "--data",
        type=click.Choice(["keep", "overwrite"]),
        help="If the service has data here already: keep it, or overwrite it with the data in the bundle.",
    ),
)

OPTIONS: dict[Shared, Callable[[Callable[..., Any]], Callable[..., Any]]] = {
    "file": click.option(
        "-f",
        "--file",
        type=click.Path(path_type=Path),
        default=Path("deploy.yml"),
        show_default=True,
        help="The manifest.",
    ),
    "destination": click.option(
        "-d", "--destination", metavar="NAME", help="Merge deploy.NAME.yml over the manifest, e.g. staging."
    ),
    "state": click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        default=default_state,
        show_default="$DEPLOYER_STATE, else the default of this system",
        help="The state folder.",
    ),
    "store": click.option(
        "--store",
        metavar="URL",
        expose_value=False,
        callback=lambda _ctx, _param, value: _use(value),
        show_default="$DEPLOYER_STORE, else the one that the state folder works with",
        help="PostgreSQL database with the records, shared by several control hosts: postgresql://USER@HOST/DATABASE.",
    ),
    "output": click.option(
        "--output",
        type=click.Choice(OUTPUTS),
        default="text",
        show_default=True,
        help="json: one event or result per line on stdout; plain: no colour, no live view.",
    ),
    "service": click.option("--service", metavar="NAME", help="Name of the service; default: the one in the manifest."),
    "message": click.option(
        "-m", "--message", metavar="TEXT", default="", callback=sentence, help="The reason; recorded in the history."
    ),
    "report": click.option(
        "--report",
        type=click.Path(path_type=Path, file_okay=False),
        metavar="DIR",
        help="Write report.html, report.json, junit.xml, summary.md and outputs.env to DIR, whatever the outcome.",
    ),
    "on_cancel": click.option(
        "--on-cancel",
        type=click.Choice(get_args(OnCancel)),
        show_default="a terminal asks; without one: abort, with --on or --server: detach",
        help="On Ctrl-C or SIGTERM: abort (roll back), or detach (leave the rollout: `deploy resume` continues it, else"
        " its users return to stable when the lease ends; with --on or --server it continues there).",
    ),
    "yes": click.option("-y", "--yes", is_flag=True, help="Do not ask."),
}

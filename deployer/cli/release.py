"""`deploy release`: several services as one release, which is promoted or rolled back as a whole."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deployer.cli.deploy import given_options, own_options
from deployer.cli.opening import open_app
from deployer.cli.options import DIRTY, OVERRIDE_FREEZE, Common, common, every
from deployer.cli.orders import attended, print_ending
from deployer.cli.output import open_view, print_result
from deployer.cli.pipeline import PipelineReports
from deployer.cli.session import signals
from deployer.cli.values import WholeNumber
from deployer.core.errors import Exit
from deployer.planning.orders import Action, Order, RolloutResult, StopRequest
from deployer.planning.strategy import load as load_strategy
from deployer.planning.strategy import names as strategies

FILE = click.option(
    "-f",
    "--file",
    "release_file",
    type=click.Path(path_type=Path),
    default=Path("release.yml"),
    show_default=True,
    help="The release file.",
)
SET = click.option("--set", "set_name", metavar="NAME", help="Name of the set; default: the one in the release file.")
WHICH = (FILE, SET)
_DEPLOY = (
    click.option(
        "--version",
        "versions",
        metavar="[SERVICE=]V",
        multiple=True,
        help="Version of all services, or of one; overrides the manifests.",
    ),
    DIRTY,
    click.option("--replace", is_flag=True, help="First roll back each rollout of these services that is in progress."),
    OVERRIDE_FREEZE,
)


class ReleaseGroup(click.Group):
    """The group: its own commands, and one for each strategy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *(n for n in strategies(Path.cwd()) if n not in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command, or that of a strategy; None when there is none of that name."""
        own = super().get_command(ctx, cmd_name)
        return own or (_strategy(cmd_name) if cmd_name in strategies(Path.cwd()) else None)


@click.group("release", cls=ReleaseGroup)
def group() -> None:
    """Release several services together, as `release.yml` says: all are promoted, or all are rolled back."""


# -- deploy


@group.command("up")
@common("message", "on_cancel")
@every(WHICH + _DEPLOY)
def up(common: Common, **given: Any) -> int:
    """Release all services with the strategy of the file; a service that is live with its release is left unchanged."""
    return _carried_out(common, _order("start", common, "", {}, given), given)


@group.command("plan")
@common()
@click.argument("strategy", required=False)
@every(WHICH + _DEPLOY[:2])
@click.option("--check", is_flag=True, help="Exit with 10 if there is something to deploy.")
def plan(common: Common, strategy: str | None, check: bool, **given: Any) -> int:
    """Show what a release would do to each service, and at which steps the services wait for each other."""
    order = _order("plan", common, strategy or "", {}, given)
    with open_app(_about(common, given)) as app:
        proposed = app.sets.plan(replace(order, set_name=app.sets.meant()))
    for n, each in enumerate(proposed):
        if each.same:
            sys.stderr.write(f"{each.plan.service}: {each.plan.version} is live already: nothing to deploy\n")
            if common.output != "json":
                continue
        if n and common.output != "json":
            sys.stdout.write("\n")
        print_result(each.plan, common.output)
    return int(Exit.CHANGES if check and not all(each.same for each in proposed) else Exit.DONE)


def _strategy(name: str) -> click.Command:
    """Make the command of a strategy: its own options beside those of a release."""
    found = load_strategy(name, Path.cwd())

    def run(common: Common, **given: Any) -> int:
        own = {key: given[f"own_{key}"] for key in found.options.model_fields}
        return _carried_out(common, _order("start", common, name, given_options(found.options, own), given), given)

    decorated = common("message", "on_cancel")(every(WHICH + own_options(found.options) + _DEPLOY)(run))
    return click.command(name, help=found.help)(decorated)


def _order(action: Action, common: Common, strategy: str, options: dict[str, Any], given: dict[str, Any]) -> Order:
    parts = [text.rpartition("=") for text in given["versions"]]
    if any(not version for _, _, version in parts):
        raise click.UsageError("--version is empty")
    return Order(
        action,
        reason=common.message,
        manifest=str(given["release_file"]),
        strategy=strategy,
        options=options,
        versions={service: version for service, _, version in parts},
        override_freeze=given.get("override_freeze", ""),
        replace=given.get("replace", False),
        dirty=given["dirty"],
    )


# -- what people ask


def _asked(action: Action, text: str) -> None:
    """Add a command that asks the same of all rollouts of the set in progress."""

    @group.command(action, help=text)
    @common("message", "on_cancel")
    @every(WHICH)
    def run(common: Common, **given: Any) -> int:
        return _carried_out(common, Order(action, reason=common.message), given)


_asked("promote", "Promote all services now, without waiting for the remaining analysis steps.")
_asked("abort", "Abort the release in progress and roll all services back.")
_asked("pause", "Pause all services at their current share.")
_asked("resume", "Continue a release that is paused, or whose process is gone.")


@group.command("rollback")
@common("message", "on_cancel")
@every(WHICH)
@click.option("--again", is_flag=True, help="Go further back, although the set was rolled back minutes ago.")
def rollback(common: Common, again: bool, **given: Any) -> int:
    """Return all services to what they had before the release that is live; one in progress is rolled back."""
    return _carried_out(common, Order("rollback", reason=common.message, again=again), given)


# -- questions


@group.command("status")
@common()
@every(WHICH)
def status(common: Common, **given: Any) -> int:
    """Show how far each service of the newest release is."""
    with open_app(_about(common, given)) as app:
        print_result(app.sets.status(app.sets.meant()), common.output)
    return int(Exit.DONE)


@group.command("history")
@common()
@every(WHICH)
@click.option("--limit", default=20, show_default=True, type=WholeNumber(1, 1000), help="Number of releases to list.")
def history(common: Common, limit: int, **given: Any) -> int:
    """List the releases of all services together, the newest first."""
    with open_app(_about(common, given)) as app:
        print_result(app.sets.history(app.sets.meant(), limit), common.output)
    return int(Exit.DONE)


@group.command("watch")
@common()
@every(WHICH)
def watch(common: Common, **given: Any) -> int:
    """Follow the release in progress until it ends; Ctrl-C stops following and does not affect it."""
    lines, stop = _in_lines(common), StopRequest(detach=True)
    with open_app(_about(common, given)) as app:
        name = app.sets.meant()
        with open_view(lines.output) as sink, signals(stop.asked):
            ending = app.sets.follow(name, sink, stop)
    return _printed(lines, ending)


# -- how they run


def _about(common: Common, given: dict[str, Any]) -> Common:
    """Return the options with the release file, or the set, that is meant."""
    context = click.get_current_context()
    named = context.get_parameter_source("release_file") is click.core.ParameterSource.COMMANDLINE
    return replace(common, file=given["release_file"], set_name=given["set_name"], named=named)


def _in_lines(common: Common) -> Common:
    """Return the options with a view that adds lines: the live page shows one service."""
    return replace(common, output="plain" if common.output == "text" else common.output)


def _carried_out(common: Common, order: Order, given: dict[str, Any]) -> int:
    """Have an order for a set carried out under a view that adds lines, and with signals; print its ending."""
    lines = _in_lines(_about(common, given))
    with open_app(lines) as app:
        order = replace(order, set_name=app.sets.meant())
        with attended(lines, PipelineReports(None)) as (sink, stop):
            ending = app.carry_out(order, sink, stop)
    return _printed(lines, ending)


def _printed(lines: Common, ending: RolloutResult) -> int:
    print_ending(lines, ending)
    return int(ending.exit)

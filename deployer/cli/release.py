"""`deploy release`: several services as one release, which is promoted or rolled back as a whole."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli.deploy import given_options, own_options
from deployer.cli.options import Common, common, every
from deployer.cli.orders import attended, print_ending
from deployer.cli.output import print_result
from deployer.cli.pipeline import PipelineReports
from deployer.cli.values import WholeNumber, sentence
from deployer.core.errors import Exit, Refused
from deployer.planning.orders import Action, Order, RolloutResult, StopRequest
from deployer.planning.strategy import load as load_strategy
from deployer.planning.strategy import names as strategies

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.app.sets import SetOrder
    from deployer.core.events import Sink

FILE = click.option(
    "-f",
    "--file",
    "release_file",
    type=click.Path(path_type=Path),
    default=Path("release.yml"),
    show_default=True,
    help="The release file.",
)
_DEPLOY = (
    click.option(
        "--version",
        "versions",
        metavar="[SERVICE=]V",
        multiple=True,
        help="Version of all services, or of one; overrides the manifests.",
    ),
    click.option("--dirty", is_flag=True, help="With `build`: also build changes that are not committed."),
    click.option("--replace", is_flag=True, help="First roll back what is in progress of a service."),
    click.option(
        "--override-freeze",
        metavar="WHY",
        default="",
        callback=sentence,
        help="Deploy during a freeze window; the reason is recorded.",
    ),
)
Done = Callable[["AppContext"], RolloutResult]


class ReleaseGroup(click.Group):
    """The group: its own commands, and one for each strategy."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names of all commands."""
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
@FILE
@every(_DEPLOY)
def up(common: Common, release_file: Path, **given: Any) -> int:
    """Release all services with the strategy of the file; services that are live already are left as they are."""
    return _release(common, _order(common, release_file, "", {}, given))


@group.command("plan")
@common()
@FILE
@click.argument("strategy", required=False)
@every(_DEPLOY[:2])
@click.option("--check", is_flag=True, help="Exit with 10 if there is something to deploy.")
def plan(common: Common, release_file: Path, strategy: str | None, check: bool, **given: Any) -> int:
    """Show what a release would do to each service, with the gates at which they wait for each other."""
    from deployer.app.operations.sets import propose_set
    from deployer.app.plans import explain
    from deployer.app.sets import request_of

    given |= {"replace": False, "override_freeze": ""}
    wanted = request_of(_order(common, release_file, strategy or "", {}, given), os.environ)
    with _opened(common) as house:
        proposed = propose_set(house, wanted)
    for n, each in enumerate(proposed):
        if each.same:
            sys.stderr.write(f"{each.plan.service}: {each.release.version} is live already: nothing to deploy\n")
            if common.output != "json":
                continue
        if n and common.output != "json":
            sys.stdout.write("\n")
        print_result(explain(each), common.output)
    return int(Exit.CHANGES if check and not all(each.same for each in proposed) else Exit.DONE)


def _strategy(name: str) -> click.Command:
    """Make the command of a strategy: its own options beside those of a release."""
    found = load_strategy(name, Path.cwd())

    def run(common: Common, release_file: Path, **given: Any) -> int:
        own = {key: given[f"own_{key}"] for key in found.options.model_fields}
        return _release(common, _order(common, release_file, name, given_options(found.options, own), given))

    decorated = common("message", "on_cancel")(FILE(every(own_options(found.options) + _DEPLOY)(run)))
    return click.command(name, help=found.help)(decorated)


def _order(
    common: Common, release_file: Path, strategy: str, options: dict[str, Any], given: dict[str, Any]
) -> SetOrder:
    from deployer.app.sets import SetOrder

    parts = [text.rpartition("=") for text in given["versions"]]
    if any(not version for _, _, version in parts):
        raise click.UsageError("--version is empty")
    return SetOrder(
        file=release_file,
        strategy=strategy,
        options=options,
        versions={service: version for service, _, version in parts},
        message=common.message,
        override_freeze=given["override_freeze"],
        replace=given["replace"],
        dirty=given["dirty"],
    )


def _release(common: Common, order: SetOrder) -> int:
    from deployer.app.operations.sets import deploy_set
    from deployer.app.sets import request_of

    wanted = request_of(order, os.environ)  # one that is refused needs no state folder
    return _carried_out(common, lambda house: deploy_set(house, wanted))


# -- what people ask


def _asked(action: Action, text: str) -> None:
    """Add a command that asks the same of all rollouts of the set in progress."""

    @group.command(action, help=text)
    @common("message", "on_cancel")
    @FILE
    def run(common: Common, release_file: Path) -> int:
        from deployer.app.operations.dispatch import perform

        def done(house: AppContext) -> RolloutResult:
            order = Order(action, _member_in_progress(house, _name(release_file)), common.message)
            return perform(house, order)

        return _carried_out(common, done)


_asked("promote", "Promote all services now, without waiting for the remaining analysis steps.")
_asked("abort", "Abort the release in progress and roll all services back.")
_asked("pause", "Pause all services at their current share.")
_asked("resume", "Continue a release that is paused, or whose process is gone.")


@group.command("rollback")
@common("message", "on_cancel")
@FILE
@click.option("--again", is_flag=True, help="Go further back, although the set was rolled back minutes ago.")
def rollback(common: Common, release_file: Path, again: bool) -> int:
    """Return all services to what they had before the release that is live; one in progress is rolled back."""
    from deployer.app.operations.set_rollback import rollback_set

    name = _name(release_file)
    return _carried_out(common, lambda house: rollback_set(house, name, again=again, reason=common.message))


# -- questions


@group.command("status")
@common()
@FILE
def status(common: Common, release_file: Path) -> int:
    """Show how far each service of the newest release is."""
    from deployer.app import sets

    with _opened(common) as house:
        print_result(sets.status(house, _name(release_file)), common.output)
    return int(Exit.DONE)


@group.command("history")
@common()
@FILE
@click.option("--limit", default=20, show_default=True, type=WholeNumber(1, 1000), help="Number of releases to list.")
def history(common: Common, release_file: Path, limit: int) -> int:
    """List the releases of all services together, the newest first."""
    from deployer.app import sets

    with _opened(common) as house:
        print_result(sets.history(house, _name(release_file), limit), common.output)
    return int(Exit.DONE)


@group.command("watch")
@common()
@FILE
def watch(common: Common, release_file: Path) -> int:
    """Follow the release in progress until it ends; Ctrl-C stops following and does not affect it."""
    from deployer.app.operations.sets import follow_set

    name = _name(release_file)
    return _carried_out(common, lambda house: follow_set(house, name))


# -- how they run


def _name(release_file: Path) -> str:
    from deployer.manifest.release_file import read

    return read(release_file, os.environ).release


def _member_in_progress(house: AppContext, name: str) -> str:
    """Return a service of the set in progress. Raise Refused when none is."""
    from deployer.app.operations.sets import in_progress
    from deployer.app.sets import newest

    found = in_progress(house, newest(house, name))
    if not found:
        raise Refused(f"no release of {name} is in progress", "`deploy release history` lists the finished ones")
    return found[0]


@contextmanager
def _opened(common: Common, sink: Sink | None = None, stop: StopRequest | None = None) -> Iterator[AppContext]:
    from deployer.app.wiring import open_house

    with open_house(common.state, sink or (lambda _event: None), stop) as house:
        yield house


def _carried_out(common: Common, do: Done) -> int:
    """Do something under a view that adds lines, and with signals; print its ending."""
    lines = replace(common, output="plain" if common.output == "text" else common.output)
    with attended(lines, PipelineReports(None)) as (sink, stop), _opened(common, sink, stop) as house:
        ending = do(house)
    print_ending(lines, ending)
    return int(ending.exit)

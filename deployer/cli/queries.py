"""Commands that only look: `status`, `watch`, `history`, `releases`, `show`, `logs`."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.output import open_view, print_result
from deployer.cli.values import NUMBER, WholeNumber
from deployer.core.errors import Exit, Refused


@click.command("status")
@common("file", "destination", "service")
@click.option("--all", "every", is_flag=True, help="Show all services in this state folder.")
def status(common: Common, every: bool) -> int:
    """Show what is live now, read from the proxy and the runtime."""
    with open_app(common) as app:
        for name in app.services() if every else (app.service(),):
            print_result(app.status(name), common.output)
    return int(Exit.DONE)


@click.command("watch")
@common("file", "destination", "service")
def watch(common: Common) -> int:
    """Follow the rollout in progress until it ends; Ctrl-C stops following and does not affect it."""
    from deployer.cli.orders import print_ending

    with open_app(common) as app:
        number = app.in_progress(app.service())
        with suppress(KeyboardInterrupt):
            history = app.events(number)
            with open_view(common.output, history=history) as sink:
                ending = app.follow(number, sink, history[-1].id if history else 0)
            print_ending(common, ending)
            return int(ending.exit)
    return int(Exit.DONE)


@click.command("history")
@common("file", "destination", "service")
@click.option("--limit", default=20, show_default=True, type=WholeNumber(1, 1000), help="Number of rollouts to list.")
@click.option("--releases", "of_releases", is_flag=True, help="List releases instead of rollouts.")
def history(common: Common, limit: int, of_releases: bool) -> int:
    """List the rollouts of a service, the newest first."""
    with open_app(common) as app:
        name = app.service()
        print_result(app.releases(name) if of_releases else app.history(name, limit), common.output)
    return int(Exit.DONE)


@click.command("releases")
@common("file", "destination", "service")
def releases(common: Common) -> int:
    """List the releases of a service, the newest first."""
    with open_app(common) as app:
        print_result(app.releases(app.service()), common.output)
    return int(Exit.DONE)


@click.command("show")
@common("file", "destination", "service")
@click.argument("number", type=NUMBER, required=False)
def show(common: Common, number: int | None) -> int:
    """Show one rollout in full (default: the newest): steps, events, measurements, who and why."""
    with open_app(common) as app:
        print_result(app.show(number or app.newest(app.service())), common.output)
    return int(Exit.DONE)


@click.command("logs")
@common("file", "destination", "service")
@click.option("-n", "--lines", default=50, show_default=True, type=WholeNumber(1, 10000), help="Lines per instance.")
@click.option("--colour", type=click.Choice(["blue", "green", "baseline"]), help="Only one environment.")
@click.option("--job", metavar="NAME", help="Print the output of the newest finished run of this job instead.")
def logs(common: Common, lines: int, colour: str | None, job: str | None) -> int:
    """Print the recent log lines of each instance, with secrets masked."""
    with open_app(common) as app:
        found = app.logs(app.service(), lines, colour or "", job or "")
    for each in found.silent:
        sys.stderr.write(f"{each.host or 'this host'} is unreachable: {each.why}\n")
    if not found.instances:
        where = f" in {colour}" if colour else ""
        raise Refused(f"{found.service} has no instances{where}", "`deploy status` shows what runs")
    for one in found.instances:
        for line in one.lines:
            if common.output == "json":
                sys.stdout.write(json.dumps({"instance": one.instance, "line": line}) + "\n")
            else:
                sys.stdout.write(f"{one.instance} | {line}\n")
    return int(Exit.DONE)

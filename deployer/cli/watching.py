"""Commands that only look: `status`, `watch`, `history`, `releases`, `show`, `logs`."""

from __future__ import annotations

import json
import sys

import click

from deployer import operations, queries
from deployer.cli.options import Common, common
from deployer.cli.output import open_view, print_result
from deployer.cli.running import house, print_ending
from deployer.cli.service import service_of
from deployer.cli.words import NUMBER
from deployer.drivers.ports import standing
from deployer.errors import Exit, Refused
from deployer.following import Follower
from deployer.secret import hide
from deployer.wiring import open_house


@click.command("status")
@common("file", "destination", "service")
@click.option("--all", "every", is_flag=True, help="All services of this state folder.")
def status(common: Common, every: bool) -> int:
    """Show what is live now: read from proxy, runtime and store, not remembered."""
    with house(common, view=False) as opened:
        names = queries.services(opened) if every else (service_of(common, opened),)
        for name in names:
            print_result(queries.status(opened, name), common.output)
    return int(Exit.DONE)


@click.command("watch")
@common("file", "destination", "service")
def watch(common: Common) -> int:
    """Follow the rollout that is under way, until it ends; leaving (Ctrl-C) does not disturb it."""
    with house(common, view=False) as quiet:
        name = service_of(common, quiet)
        rollout = quiet.store.open_rollout(name)
        if rollout is None:
            raise Refused(f"{name} has no rollout under way", "`deploy history` lists the finished ones")
        history = quiet.store.events(rollout.number)
    with open_view(common.output, history=history) as sink, open_house(common.state, sink) as opened:
        try:
            with Follower(opened, name, rollout.number):
                ending = operations.follow(opened, rollout.number, after=history[-1].id if history else 0)
        except KeyboardInterrupt:
            return int(Exit.DONE)
    print_ending(common, ending)
    return int(ending.exit)


@click.command("history")
@common("file", "destination", "service")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many rollouts.")
@click.option("--releases", "of_releases", is_flag=True, help="List releases instead of rollouts.")
def history(common: Common, limit: int, of_releases: bool) -> int:
    """List the rollouts of a service, the newest first."""
    with house(common, view=False) as opened:
        name = service_of(common, opened)
        view = queries.releases(opened, name) if of_releases else queries.history(opened, name, limit)
        print_result(view, common.output)
    return int(Exit.DONE)


@click.command("releases")
@common("file", "destination", "service")
def releases(common: Common) -> int:
    """List the releases of a service, the newest first."""
    with house(common, view=False) as opened:
        print_result(queries.releases(opened, service_of(common, opened)), common.output)
    return int(Exit.DONE)


@click.command("show")
@common("file", "destination", "service")
@click.argument("number", type=NUMBER, required=False)
def show(common: Common, number: int | None) -> int:
    """Show one rollout in full (the newest unless NUMBER is given): steps, events, numbers, who and why."""
    with house(common, view=False) as opened:
        if number is None:
            number = queries.newest(opened, service_of(common, opened))
        print_result(queries.show(opened, number), common.output)
    return int(Exit.DONE)


@click.command("logs")
@common("file", "destination", "service")
@click.option("-n", "--lines", default=50, show_default=True, type=click.IntRange(1, 10000), help="Lines an instance.")
@click.option("--colour", type=click.Choice(["blue", "green", "baseline"]), help="Only one environment.")
def logs(common: Common, lines: int, colour: str | None) -> int:
    """Print the last lines that each instance wrote, without the values of its secrets."""
    with house(common, view=False) as opened:
        name = service_of(common, opened)
        runtime = queries.drivers_of(opened, name).runtime
        queries.learn_secrets(opened, name)
        there = standing(runtime, name)
        instances = [i for i in there.instances if colour in (None, i.colour)]
        for host, why in there.silent.items():
            sys.stderr.write(f"{host or 'this machine'} does not answer: {why}\n")
        if not instances:
            raise Refused(
                f"{name} has no instances{f' in {colour}' if colour else ''}", "`deploy status` shows what runs"
            )
        for instance in instances:
            for line in map(hide, runtime.logs(instance, lines)):
                if common.output == "json":
                    sys.stdout.write(json.dumps({"instance": instance.name, "line": line}) + "\n")
                else:
                    sys.stdout.write(f"{instance.name} | {line}\n")
    return int(Exit.DONE)

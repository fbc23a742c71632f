"""`deploy hosts`: the hosts of the inventory, listed, checked, prepared, updated."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from deployer import __version__
from deployer.app.inventory import InventoryHosts, isolations, read
from deployer.cli.options import Common, Shared, common
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house
from deployer.cli.values import DecimalNumber, WholeNumber
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.core.host import Host
from deployer.views.data import Finding
from deployer.views.host_data import CheckedHost, CheckView, HostsView, HostView, PlayedHost, PlayedView

if TYPE_CHECKING:
    from deployer.app.maintenance import HostWork
    from deployer.drivers.hosts.playbook_progress import PlaySummary
    from deployer.drivers.hosts.readiness import Examined

_VARIABLE = re.compile(r"(?P<name>[a-z_][a-z0-9_]*)=(?P<value>.*)", re.DOTALL | re.IGNORECASE)


@click.group("hosts")
def group() -> None:
    """List, check, prepare and update the hosts of the inventory."""


def _fleet(command: Callable[..., int], *more: Shared) -> Callable[..., int]:
    """Add to a command the options that say which hosts, and these as its argument `fleet`."""

    @common("file", "destination", *more)
    @click.option(
        "-i",
        "--inventory",
        type=click.Path(path_type=Path),
        help="Ansible inventory with groups web and edge; default: the manifest's, else only this host.",
    )
    @click.option(
        "--limit", metavar="PATTERN", default="", help="Only these hosts: names, groups, or an Ansible pattern."
    )
    @functools.wraps(command)
    def call(common: Common, inventory: Path | None, limit: str, **given: Any) -> int:
        return command(common=common, fleet=read(common.target, inventory, limit, os.environ, SystemClock()), **given)

    return call


@group.command("list")
@_fleet
def list_(common: Common, fleet: InventoryHosts) -> int:
    """List the hosts: name, address, connection, groups."""
    rows = tuple(HostView(h.name, h.address, _way(h), h.groups) for h in fleet.hosts)
    print_result(HostsView(str(fleet.inventory), rows), common.output)
    return int(Exit.DONE)


@group.command("check")
@_fleet
@click.option(
    "--within",
    metavar="SECONDS",
    type=DecimalNumber(1, 600),
    default=15,
    show_default=True,
    help="Time limit per host.",
)
def check(common: Common, fleet: InventoryHosts, within: float) -> int:
    """Check that each host is ready: ssh, Python, engine, proxy, clock, disk; exit with 8 if one is not.

    All hosts are checked at the same time; one that does not respond is reported after --within. Changes nothing.
    """
    from deployer.drivers.hosts.readiness import HostRoles, examine

    clock, version = SystemClock(), __version__ if fleet.together else ""
    roles = HostRoles(fleet.on_web, fleet.on_edge, version, isolations(fleet, os.environ, clock))
    found = examine(fleet.hosts, roles, clock, within)
    view = check_view(str(fleet.inventory), found)
    print_result(view, common.output)
    return int(Exit.NEEDS_PERSON if any(row.unfit for row in view.hosts) else Exit.DONE)


def check_view(inventory: str, found: Sequence[Examined]) -> CheckView:
    """Return what was found as a result to be printed."""
    rows = (
        CheckedHost(
            e.host.name,
            e.host.address,
            e.host.groups,
            tuple(Finding(t.level, t.what, t.text, t.remedy) for t in e.traits),
            round(e.seconds, 3),
        )
        for e in found
    )
    return CheckView(inventory, tuple(rows))


@dataclass(frozen=True)
class PlayOptions:
    """How a playbook is run on hosts: whether nobody is asked, the limit in seconds, and variables for it."""

    yes: bool
    within: float
    variables: Mapping[str, Any]


def _playing(command: Callable[..., int]) -> Callable[..., int]:
    """Add to a command the options of those that change hosts."""
    for option in (
        click.option("-y", "--yes", is_flag=True, help="Do not ask."),
        click.option(
            "--within",
            metavar="SECONDS",
            type=DecimalNumber(10, 86400),
            default=3600,
            show_default=True,
            help="Time limit.",
        ),
        click.option(
            "-e",
            "--set",
            "variables",
            metavar="NAME=VALUE",
            multiple=True,
            callback=_variables,
            help="Variable for the playbook; may be repeated.",
        ),
        click.option("--user", metavar="NAME", help="Connect as this user, whatever the inventory says."),
    ):
        command = option(command)

    @functools.wraps(command)
    def call(yes: bool, within: float, variables: dict[str, Any], user: str | None, **given: Any) -> int:
        login = {"ansible_user": user} if user else {}
        return command(how=PlayOptions(yes, within, {**variables, **login}), **given)

    return _fleet(call, "message")


def _variables(_ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    import yaml

    read: dict[str, Any] = {}
    for text in given:
        match = _VARIABLE.fullmatch(text)
        if match is None:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        try:
            read[match["name"]] = yaml.safe_load(match["value"])
        except yaml.YAMLError:
            raise click.BadParameter(f"the value of {match['name']} is not YAML") from None
    return read


@group.command("setup")
@_playing
def setup(common: Common, fleet: InventoryHosts, how: PlayOptions) -> int:
    """Prepare hosts: Docker engine where instances run, HAProxy on `edge`, a user for deploying.

    Running it again changes nothing. The first time, connect as an existing user who can become root: --user root.
    """
    from deployer.app.maintenance import HostWork

    return _play(common, fleet, HostWork("setup", "setup.yml", how.variables, reason=common.message), how, "Prepare")


@group.command("update")
@_playing
@click.option("--no-reboot", is_flag=True, help="Do not reboot, even if the update requires it.")
@click.option(
    "--at-once",
    type=WholeNumber(1, 1000),
    default=1,
    show_default=True,
    help="Number of hosts updated in parallel.",
)
@click.option(
    "--floor",
    metavar="PERCENT",
    type=DecimalNumber(0, 100, min_open=True),
    default=50,
    show_default=True,
    help="Minimum percentage of instances kept in rotation, at least one instance.",
)
@click.option(
    "--allow-downtime",
    "downtime",
    is_flag=True,
    help="Go below --floor if there is no other way; users will see errors.",
)
def update(common: Common, fleet: InventoryHosts, how: PlayOptions, no_reboot: bool, at_once: int, **terms: Any) -> int:
    """Update packages host by host, and reboot where needed, without downtime.

    Before a host is updated, its instances are taken out of rotation and drained; afterwards they must be healthy
    before they get traffic again. If a host fails, the update stops and the remaining hosts are not changed. Refused
    while a rollout of a service on these hosts is in progress.
    """
    from deployer.app.maintenance import HostWork
    from deployer.app.operations import DrainTerms

    # A batch leaves as a whole, so the playbook takes it as a whole.
    variables = {"update_reboot": not no_reboot, "update_serial": at_once, **how.variables}
    work = HostWork("update", "update.yml", variables, at_once, DrainTerms(**terms), common.message)
    return _play(common, fleet, work, how, "Update" if no_reboot else "Update, and reboot where needed,")


def _play(common: Common, fleet: InventoryHosts, work: HostWork, how: PlayOptions, question: str) -> int:
    """Do a work on hosts under a view, when a person agreed; print what was done on each of them."""
    from deployer.app.maintenance import Maintenance
    from deployer.drivers.hosts.playbook_progress import listed

    names = [host.name for host in fleet.with_a_part()]
    if not how.yes:
        _ask(f"{question} {listed(names)}?")
    deadline, tallies = Deadline.after(SystemClock(), how.within), dict[str, "PlaySummary"]()
    try:
        with open_lines(common.output) as view, _ending_in_order():

            def shown(event: Event) -> None:
                # What changed nothing is summed up at the end; a program that reads along gets it all.
                if common.output == "json" or event.kind != "task" or event.data["status"] not in ("ok", "skipped"):
                    view(event)

            with house(common, shown) as opened:
                Maintenance(opened, fleet, work, deadline, tallies).run()
    finally:
        _print_tallies(common, work, tallies)
    return int(Exit.DONE)


def _print_tallies(common: Common, work: HostWork, tallies: Mapping[str, PlaySummary]) -> None:
    rows = tuple(
        PlayedHost(name, **{word: tally.counts.get(word, 0) for word in ("ok", "changed", "failed", "unreachable")})
        for name, tally in sorted(tallies.items())
    )
    if rows:
        print_result(PlayedView(work.playbook, rows), common.output)


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM end it as Ctrl-C does: what is out of rotation comes back."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise Refused("nothing was done: there is no terminal to confirm", "pass --yes")
    click.confirm(question, abort=True, err=True)


def _way(host: Host) -> str:
    engine = f", engine {host.engine}" if host.engine else ""
    if host.connection == "local":
        return f"local{engine}"
    to = f"{host.user}@{host.ssh_host}" if host.user else host.ssh_host
    return f"{to}:{host.port}{engine}" if host.port else f"{to}{engine}"

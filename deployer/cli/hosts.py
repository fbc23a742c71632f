"""`deploy hosts`: the machines of the inventory, listed, checked, prepared, updated."""

from __future__ import annotations

import functools
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from deployer import __version__
from deployer.cli.options import Common, Shared, common
from deployer.cli.output import open_lines, print_result
from deployer.cli.session import house
from deployer.cli.values import DecimalNumber, WholeNumber
from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.events import Event
from deployer.core.host import Host
from deployer.core.resources import builtin
from deployer.drivers.hosts.inventory import READ_SECONDS, chosen, hosts
from deployer.store import AuditEntry
from deployer.views.data import CheckedMachine, CheckView, Finding, MachinesView, MachineView, PlayedMachine, PlayedView

if TYPE_CHECKING:
    from deployer.app.operations import AppContext, DrainTerms
    from deployer.drivers.hosts.playbook_progress import PlaySummary
    from deployer.drivers.hosts.readiness import Examined

WEB, EDGE = "web", "edge"  # groups, where no manifest names others: of machines with instances, and with proxies
_VARIABLE = re.compile(r"(?P<name>[a-z_][a-z0-9_]*)=(?P<value>.*)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class InventoryHosts:
    """The machines that a command means, and where an `ansible.cfg` is obeyed.

    `web` is the pattern of machines that run instances, `edge` that of proxies; `on_web` and `on_edge` are their names.
    `together`: the proxies are told on their own machines what a deploy does.
    """

    inventory: Path
    limit: str
    folder: Path
    machines: tuple[Host, ...]
    web: str
    edge: str
    on_web: frozenset[str]
    on_edge: frozenset[str]
    together: bool


@click.group("hosts")
def group() -> None:
    """List, check, prepare and update the hosts of the inventory."""


def _fleet(command: Callable[..., int], *more: Shared) -> Callable[..., int]:
    """Give a command the options that say which machines, and these as its argument `fleet`."""

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
        return command(common=common, fleet=_chosen(common, inventory, limit), **given)

    return call


def _chosen(common: Common, inventory: Path | None, limit: str) -> InventoryHosts:
    folder = common.file.absolute().parent
    named, web, edge = _of_manifest(common) if inventory is None else (None, WEB, "")
    source = inventory or chosen(named, folder)
    deadline = Deadline.after(SystemClock(), READ_SECONDS)
    found = hosts(source, "all", deadline, limit=limit, folder=folder)

    def members(pattern: str, usual: str) -> frozenset[str]:
        if pattern == usual:  # which need not be there
            return frozenset(machine.name for machine in found if usual in machine.groups)
        return frozenset(machine.name for machine in hosts(source, pattern, deadline, folder=folder))

    proxies = edge or EDGE
    on_web, on_edge = members(web, WEB), members(proxies, EDGE)
    return InventoryHosts(source.absolute(), limit, folder, found, web, proxies, on_web, on_edge, bool(edge))


def _of_manifest(common: Common) -> tuple[str | None, str, str]:
    """Give the inventory of the manifest, the pattern of its machines that run instances, and that of its proxies."""
    if not common.file.exists():
        return None, WEB, ""
    from deployer.manifest.load import load

    manifest = load(common.file, destination=common.destination or "", environ=os.environ).manifest
    proxies = manifest.traffic.proxies
    return manifest.inventory, manifest.machines or WEB, "" if proxies == "local" else proxies


@group.command("list")
@_fleet
def list_(common: Common, fleet: InventoryHosts) -> int:
    """List the hosts: name, address, connection, groups."""
    rows = tuple(MachineView(h.name, h.address, _way(h), h.groups) for h in fleet.machines)
    print_result(MachinesView(str(fleet.inventory), rows), common.output)
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
    from deployer.drivers.hosts.readiness import examine

    version = __version__ if fleet.together else ""
    found = examine(fleet.machines, fleet.on_web, fleet.on_edge, SystemClock(), within, version)
    view = check_view(str(fleet.inventory), found)
    print_result(view, common.output)
    return int(Exit.NEEDS_PERSON if any(row.unfit for row in view.machines) else Exit.DONE)


def check_view(inventory: str, found: Sequence[Examined]) -> CheckView:
    """Give what was found as a result to be printed."""
    rows = (
        CheckedMachine(
            e.host.name,
            e.host.address,
            e.host.groups,
            tuple(Finding(t.level, t.what, t.text, t.remedy) for t in e.traits),
            round(e.seconds, 3),
        )
        for e in found
    )
    return CheckView(inventory, tuple(rows))


def _playing(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of those that change machines."""
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
            help="Variable for the playbook; may be given several times.",
        ),
        click.option("--user", metavar="NAME", help="Connect as this user, whatever the inventory says."),
    ):
        command = option(command)
    return _fleet(command, "message")


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
def setup(common: Common, fleet: InventoryHosts, **given: Any) -> int:
    """Prepare hosts: Docker engine where instances run, HAProxy on `edge`, a user for deploying.

    Running it again changes nothing. The first time, connect as an existing user who can become root: --user root.
    """
    return _play(common, fleet, _Work("setup", "setup.yml", "Prepare"), **given)


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
    "--allow-downtime", is_flag=True, help="Go below --floor if there is no other way; users will see errors."
)
def update(
    common: Common,
    fleet: InventoryHosts,
    no_reboot: bool,
    at_once: int,
    floor: float,
    allow_downtime: bool,
    variables: dict[str, Any],
    **given: Any,
) -> int:
    """Update packages host by host, and reboot where needed, without downtime.

    Before a host is updated, its instances are taken out of rotation and drained; afterwards they must be healthy
    before they get traffic again. If a host fails, the update stops and the remaining hosts are not changed. Refused
    while a rollout of a service on these hosts is in progress.
    """
    from deployer.app.operations import DrainTerms

    # A batch leaves as a whole, so the playbook takes it as a whole.
    told = {"update_reboot": not no_reboot, "update_serial": at_once, **variables}
    question = "Update" if no_reboot else "Update, and reboot where needed,"
    work = _Work("update", "update.yml", question, at_once, DrainTerms(floor, allow_downtime))
    return _play(common, fleet, work, variables=told, **given)


@dataclass(frozen=True)
class _Work:
    """What is done to machines: so many `at_once`, all where that is 0; with `terms`, without users meanwhile."""

    name: str
    playbook: str
    question: str
    at_once: int = 0
    terms: DrainTerms | None = None

    def batches(self, machines: Sequence[Host]) -> list[Sequence[Host]]:
        """Divide machines."""
        size = self.at_once or len(machines)
        return [machines[n : n + size] for n in range(0, len(machines), size)]


def _play(
    common: Common,
    fleet: InventoryHosts,
    work: _Work,
    *,
    yes: bool,
    within: float,
    variables: Mapping[str, Any],
    user: str | None,
) -> int:
    from deployer.drivers.hosts.playbook_progress import machines

    # Instances first: a proxy that is away needs others that stand in for it.
    chosen = sorted(
        (h for h in fleet.machines if _has_a_part(h, fleet)), key=lambda h: (h.name not in fleet.on_web, h.name)
    )
    if not chosen:
        raise Refused(
            f"no host of {fleet.inventory} is in {fleet.web} or {fleet.edge}", "`deploy hosts list` shows the groups"
        )
    names = [h.name for h in chosen]
    if not yes:
        _ask(f"{work.question} {machines(names)}?")
    deadline = Deadline.after(SystemClock(), within)
    told = {
        "deployer_web": fleet.web,
        "deployer_edge": fleet.edge,
        **variables,
        **({"ansible_user": user} if user else {}),
    }
    tallies: dict[str, PlaySummary] = {}
    try:
        with open_lines(common.output) as sink, _ending_in_order(), house(common, sink) as opened:
            _work_through(opened, common, fleet, work, chosen, told, deadline, tallies)
    finally:
        _print_tallies(common, work, tallies)
    return int(Exit.DONE)


def _has_a_part(machine: Host, fleet: InventoryHosts) -> bool:
    return machine.name in fleet.on_web | fleet.on_edge


def _work_through(
    opened: AppContext,
    common: Common,
    fleet: InventoryHosts,
    work: _Work,
    chosen: Sequence[Host],
    variables: Mapping[str, Any],
    deadline: Deadline,
    tallies: dict[str, PlaySummary],
) -> None:
    """Take one batch after the other, and record who did that to which machines, and what became of it."""
    from deployer.app.operations import refuse_unsparable, relieved
    from deployer.drivers.hosts.playbook_progress import machines

    batches, done = work.batches(chosen), list[str]()
    if work.terms:
        refuse_unsparable(opened, batches, work.terms)

    def record(result: str, detail: str) -> None:
        opened.store.record(AuditEntry(f"hosts-{work.name}", "", result, detail=detail, reason=common.message))

    record("begun", f"{machines([h.name for h in chosen])} of {fleet.inventory}")
    try:
        for batch in batches:
            with relieved(opened, batch, work.terms) if work.terms else nullcontext():
                _roll(opened, common, fleet, work, batch, variables, deadline, tallies)
            done += [h.name for h in batch]
    except BaseException as error:
        left = [h.name for h in chosen if h.name not in done]
        ended = f"{machines(done) or 'no host'} done; not done: {machines(left)}"
        opened.tell("", ended)
        record("interrupted" if isinstance(error, KeyboardInterrupt) else "failed", f"{ended}: {error}")
        raise
    record("done", machines(done))


def _roll(
    opened: AppContext,
    common: Common,
    fleet: InventoryHosts,
    work: _Work,
    batch: Sequence[Host],
    variables: Mapping[str, Any],
    deadline: Deadline,
    tallies: dict[str, PlaySummary],
) -> None:
    """Run the playbook on a batch. Raises StepFailed when it fails on a machine."""
    from deployer.drivers.hosts.playbook_progress import roll

    def tell(kind: str, **data: Any) -> None:
        # What changed nothing is summed up at the end; a program that reads along gets it all.
        if common.output == "json" or kind != "task" or data["status"] not in ("ok", "skipped"):
            opened.sink(Event(kind, time.time(), "", 0, data))

    limit = ",".join(h.name for h in batch) if work.at_once else fleet.limit
    rolled = roll(builtin("playbooks") / work.playbook, fleet.inventory, limit, variables, fleet.folder, deadline, tell)
    tallies |= rolled.tallies
    if rolled.failure:
        raise rolled.failure


def _print_tallies(common: Common, work: _Work, tallies: Mapping[str, PlaySummary]) -> None:
    rows = tuple(
        PlayedMachine(name, **{word: tally.counts.get(word, 0) for word in ("ok", "changed", "failed", "unreachable")})
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

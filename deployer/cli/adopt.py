"""`deploy adopt`: the way back from a store that is lost or damaged."""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import click

from deployer.app import adoption_view, operations
from deployer.app.wiring import open_house
from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit, Refused
from deployer.core.host import Meant
from deployer.manifest.load import load
from deployer.store.rebuild import rebuilding


@click.command("adopt")
@common("file", "destination", "service", "yes")
@click.option("--installation", metavar="ID", default="", help="Installation to adopt, if there are several.")
def adopt(common: Common, installation: str) -> int:
    """Rebuild a lost or damaged state database from the running instances and the proxy.

    Running instances and the proxy are not changed. A damaged state database is moved aside. Shows what it would record
    before it does so. Hosts in the manifest's inventory are included.
    """
    state = common.state.expanduser().absolute()
    with rebuilding(state, SystemClock()) as made, open_house(state, store=made.store) as opened:
        found = operations.survey(
            opened,
            service=common.service or "",
            installation=installation,
            why=made.why,
            meant=_hosts(common, opened),
        )
        view = adoption_view.adoption(opened, found)
        if not found.services and not made.why:
            print_result(view, common.output)
            return int(Exit.DONE)
        if not common.yes:
            print_result(view, common.output)
            _ask()
        operations.adopt(opened, found)
        aside = tuple(str(path) for path in made.put_in_place())
    done = replace(view, done=True, aside=aside)
    if common.yes or common.output == "json":
        print_result(done, common.output)
    else:
        sys.stdout.write("recorded\n")
    return int(Exit.DONE)


def _hosts(common: Common, house: operations.AppContext) -> Meant:
    """Return the hosts that the manifest means, if there is one: no store says any more where instances stand."""
    if not common.file.exists():
        return Meant()
    loaded = load(common.file, destination=common.destination or "", environ=os.environ)
    return house.find(loaded.manifest, loaded.folder)


def _ask() -> None:
    if not sys.stdin.isatty():
        raise Refused("nothing was recorded: there is no terminal to confirm", "pass --yes")
    click.confirm("Record it?", abort=True, err=True)

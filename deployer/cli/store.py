"""`deploy store`: where the records are."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from deployer.cli.options import Common, common
from deployer.core.clock import SystemClock
from deployer.core.errors import Exit


@click.group("store")
def group() -> None:
    """Move the records between the state folder and a database."""


@group.command("move")
@common()
@click.option("--to-file", is_flag=True, help="Move the records from the database back into the state folder.")
def move(common: Common, to_file: bool) -> int:
    """Move all records of the state folder into the database that --store or $DEPLOYER_STORE names.

    Refused while a rollout is in progress, a lock is held, or `deploy serve` or `deploy keep` runs. Records are
    copied in one transaction and read back; the former file stays in the state folder under another name.
    """
    from deployer.app import store_move

    state, clock = common.state.expanduser().absolute(), SystemClock()
    moved = store_move.into_file(state, clock) if to_file else store_move.into_database(state, clock)
    if common.output == "json":
        sys.stdout.write(f"{json.dumps(asdict(moved))}\n")
        return int(Exit.DONE)
    sys.stdout.write(f"{moved.text}\n")
    if moved.aside:
        sys.stdout.write(f"the former file is {moved.aside}\n")
    return int(Exit.DONE)

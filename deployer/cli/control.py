"""Commands for people who step in: `approve`, `promote`, `abort`, `rollback`, `pause`, `resume`, and harder ones."""

from __future__ import annotations

import sys

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.orders import carry_out
from deployer.cli.values import NUMBER
from deployer.core.errors import Refused
from deployer.planning.orders import Order


@click.command("promote")
@common("file", "destination", "service", "message", "report", "on_cancel")
@click.option("--force", is_flag=True, help="Skip pending approvals; needs a reason (-m).")
def promote(common: Common, force: bool) -> int:
    """Promote the rollout in progress now, without waiting for its remaining analysis steps."""
    if force and not common.message:
        raise click.UsageError('say why: -m "reason"')
    return carry_out(common, Order("promote", reason=common.message, force=force))


@click.command("approve")
@common("file", "destination", "service", "message")
@click.argument("number", type=NUMBER, metavar="[N]", required=False)
@click.option("--refuse", is_flag=True, help="Refuse instead: the rollout rolls back; needs a reason (-m).")
def approve(common: Common, number: int | None, refuse: bool) -> int:
    """Approve the rollout that is waiting for you (with N: only if it is rollout N).

    The rollout continues as soon as enough different people have approved.
    """
    if refuse and not common.message:
        raise click.UsageError('say why: -m "reason"')
    return carry_out(common, Order("approve", reason=common.message, refuse=refuse, number=number or 0))


@click.command("abort")
@common("file", "destination", "service", "message")
def abort(common: Common) -> int:
    """Abort the rollout in progress: all users return to stable, then the candidate is drained and removed."""
    return carry_out(common, Order("abort", reason=common.message))


@click.command("pause")
@common("file", "destination", "service", "message")
def pause(common: Common) -> int:
    """Pause the rollout in progress at its current share; `deploy resume` continues it."""
    return carry_out(common, Order("pause", reason=common.message))


@click.command("resume")
@common("file", "destination", "service", "message", "report", "on_cancel")
def resume(common: Common) -> int:
    """Continue a rollout that is paused, or whose process is gone; a rollback is continued, too."""
    return carry_out(common, Order("resume", reason=common.message))


@click.command("rollback")
@common("file", "destination", "service", "message")
@click.option("--to", type=NUMBER, metavar="N", help="Release to roll back to; default: the last good one.")
@click.option("--again", is_flag=True, help="Roll back again even if a rollback happened in the last 10 minutes.")
@click.option("--force", is_flag=True, help="Allow a release that failed or was rolled back.")
def rollback(common: Common, to: int | None, again: bool, force: bool) -> int:
    """Return to the previous release: instant while it is still running, otherwise it is started again.

    Within 10 minutes after another rollback it changes nothing and says so; see --again.
    """
    return carry_out(common, Order("rollback", reason=common.message, to=to or 0, again=again, force=force))


@click.command("drain")
@common("file", "destination", "service", "message")
def drain(common: Common) -> int:
    """Close WebSockets and tcp sessions to releases that users have left; their clients reconnect to the live one.

    Requests there are not cut: it waits for them, up to `stop.drain`, and says how many are left.
    """
    return carry_out(common, Order("drain", reason=common.message))


@click.command("release-lock")
@common("file", "destination", "service", "message")
def release_lock(common: Common) -> int:
    """Break the lock of a service; its holder can change nothing from then on. Needs a reason (-m)."""
    if not common.message:
        raise click.UsageError('say why: -m "reason"')
    return carry_out(common, Order("release-lock", reason=common.message))


@click.command("down")
@common("file", "destination", "service", "message", "yes")
def down(common: Common) -> int:
    """Take a service offline and remove all its instances; releases and history are kept."""
    name = "" if common.yes else _confirmed(common)
    return carry_out(common, Order("down", name, common.message))


def _confirmed(common: Common) -> str:
    """Ask whether a service may go offline; return its name."""
    with open_app(common) as app:
        name = app.service()
    if not sys.stdin.isatty():
        raise Refused(f"{name} would go offline, and there is no terminal to confirm", "pass --yes")
    click.confirm(f"{name} goes offline. Continue?", abort=True, err=True)
    return name

"""Commands for people who step in: `approve`, `promote`, `abort`, `rollback`, `pause`, `resume`, and harder ones."""

from __future__ import annotations

import sys

import click

from deployer.cli.acting import act
from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.pipeline import reports
from deployer.cli.values import NUMBER
from deployer.core.errors import Exit, Refused
from deployer.planning.orders import Order


@click.command("promote")
@common("file", "destination", "service", "message", "report", "on_cancel")
@click.option("--force", is_flag=True, help="Also past what people have still to approve; needs a reason (-m).")
def promote(common: Common, force: bool) -> int:
    """Finish an unfinished rollout forward, without waiting for the rest of its watches."""
    if force and not common.message:
        raise click.UsageError('say why: -m "reason"')
    with reports(common.report) as told:
        return act(common, Order("promote", reason=common.message, force=force), told)


@click.command("approve")
@common("file", "destination", "service", "message")
@click.argument("number", type=NUMBER, metavar="[N]", required=False)
@click.option("--refuse", is_flag=True, help="Send it back instead; needs a reason (-m).")
def approve(common: Common, number: int | None, refuse: bool) -> int:
    """Approve what a rollout waits for (N: only if it is this one), as one of those whom the manifest names.

    Whoever drives the rollout goes on by itself as soon as enough different people have approved.
    """
    if refuse and not common.message:
        raise click.UsageError('say why: -m "reason"')
    return act(common, Order("approve", reason=common.message, refuse=refuse, number=number or 0))


@click.command("abort")
@common("file", "destination", "service", "message")
def abort(common: Common) -> int:
    """Stop an unfinished rollout: users go back first, then the candidate is drained and removed."""
    return act(common, Order("abort", reason=common.message))


@click.command("pause")
@common("file", "destination", "service", "message")
def pause(common: Common) -> int:
    """Hold a running rollout at its share; `deploy resume` goes on."""
    return act(common, Order("pause", reason=common.message))


@click.command("resume")
@common("file", "destination", "service", "message", "report", "on_cancel")
def resume(common: Common) -> int:
    """Go on with a rollout that is held, or whose process died; on its way back it is brought back."""
    with reports(common.report) as told:
        return act(common, Order("resume", reason=common.message), told)


@click.command("rollback")
@common("file", "destination", "service", "message")
@click.option("--to", type=NUMBER, metavar="N", help="Release to go back to; the last good one unless given.")
@click.option("--again", is_flag=True, help="Also when users were brought back in the last 10 minutes.")
@click.option("--force", is_flag=True, help="Even to a release that was rolled back or never got through.")
def rollback(common: Common, to: int | None, again: bool, force: bool) -> int:
    """Leave the live release for the one before: one write while it is warm, else started from its record.

    Within 10 minutes after users were brought back, by a verdict or a person, it moves nobody and says so.
    """
    return act(common, Order("rollback", reason=common.message, to=to or 0, again=again, force=force))


@click.command("release-lock")
@common("file", "destination", "service", "message")
def release_lock(common: Common) -> int:
    """Take the lock away from whoever holds it; that process can change nothing any more. Needs a reason (-m)."""
    if not common.message:
        raise click.UsageError('say why: -m "reason"')
    with open_app(common) as there:
        ending = there.act(Order("release-lock", reason=common.message))
    sys.stdout.write(f"{ending.text}\n")
    return int(Exit.DONE)


@click.command("down")
@common("file", "destination", "service", "message", "yes")
def down(common: Common) -> int:
    """Take a service off the proxy and remove all its instances; releases and history stay."""
    with open_app(common) as there:
        name = there.service()
        if not common.yes:
            if not sys.stdin.isatty():
                raise Refused(f"{name} would answer nobody any more; nobody is here to be asked", "say it with --yes")
            click.confirm(f"{name} will answer nobody any more. Go on?", abort=True, err=True)
        ending = there.act(Order("down", name, common.message))
    sys.stdout.write(f"{ending.text}\n")
    return int(Exit.DONE)

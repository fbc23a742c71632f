"""Commands for people who step in: `approve`, `promote`, `abort`, `rollback`, `pause`, `resume`, and harder ones."""

from __future__ import annotations

import sys

import click

from deployer import operations
from deployer.cli.options import Common, common
from deployer.cli.pipeline import reports
from deployer.cli.running import act, house
from deployer.cli.service import service_of
from deployer.cli.words import NUMBER
from deployer.errors import Exit, Refused


@click.command("promote")
@common("file", "destination", "service", "message", "report", "on_cancel")
@click.option("--force", is_flag=True, help="Also past what people have still to approve; needs a reason (-m).")
def promote(common: Common, force: bool) -> int:
    """Finish an unfinished rollout forward, without waiting for the rest of its watches."""
    if force and not common.message:
        raise click.UsageError('say why: -m "reason"')
    with reports(common.report) as told:
        return act(common, lambda h: operations.promote(h, service_of(common, h), common.message, force=force), told)


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
    return act(
        common,
        lambda h: operations.approve(h, service_of(common, h), common.message, refuse=refuse, number=number),
    )


@click.command("abort")
@common("file", "destination", "service", "message")
def abort(common: Common) -> int:
    """Stop an unfinished rollout: users go back first, then the candidate is drained and removed."""
    return act(common, lambda h: operations.stop(h, service_of(common, h), common.message))


@click.command("pause")
@common("file", "destination", "service", "message")
def pause(common: Common) -> int:
    """Hold a running rollout at its share; `deploy resume` goes on."""
    return act(common, lambda h: operations.pause(h, service_of(common, h), common.message))


@click.command("resume")
@common("file", "destination", "service", "message", "report", "on_cancel")
def resume(common: Common) -> int:
    """Go on with a rollout that is held, or whose process died; on its way back it is brought back."""
    with reports(common.report) as told:
        return act(common, lambda h: operations.resume(h, service_of(common, h), common.message), told)


@click.command("rollback")
@common("file", "destination", "service", "message")
@click.option("--to", type=NUMBER, metavar="N", help="Release to go back to; the last good one unless given.")
@click.option("--force", is_flag=True, help="Even to a release that was rolled back or never got through.")
def rollback(common: Common, to: int | None, force: bool) -> int:
    """Leave the live release for the one before: one write while it is warm, else started from its record."""
    return act(
        common,
        lambda h: operations.rollback(h, service_of(common, h), to=to, force=force, reason=common.message),
    )


@click.command("release-lock")
@common("file", "destination", "service", "message")
def release_lock(common: Common) -> int:
    """Take the lock away from whoever holds it; that process can change nothing any more. Needs a reason (-m)."""
    if not common.message:
        raise click.UsageError('say why: -m "reason"')
    with house(common, view=False) as opened:
        name = service_of(common, opened)
        held = opened.store.locks.break_(name, common.message)
        if held is None:
            raise Refused(f"nobody alive holds the lock of {name}", "`deploy status` shows what is live")
        busy = opened.store.locks.is_changing(held)
    sys.stdout.write(
        f"the lock of {name} was taken from {held.owner} ({held.where}), {held.purpose}: {common.message}\n"
    )
    if busy:
        sys.stdout.write(
            f"it is in the middle of a change: nobody else gets the lock before that is over; {held.how_to_end()}\n"
        )
    return int(Exit.DONE)


@click.command("down")
@common("file", "destination", "service", "message", "yes")
def down(common: Common) -> int:
    """Take a service off the proxy and remove all its instances; releases and history stay."""
    with house(common) as opened:
        name = service_of(common, opened)
        if not common.yes:
            if not sys.stdin.isatty():
                raise Refused(f"{name} would answer nobody any more; nobody is here to be asked", "say it with --yes")
            click.confirm(f"{name} will answer nobody any more. Go on?", abort=True, err=True)
        removed = operations.down(opened, name, common.message)
    sys.stdout.write(f"{name} is down; removed: {', '.join(removed) or 'nothing was running'}\n")
    return int(Exit.DONE)

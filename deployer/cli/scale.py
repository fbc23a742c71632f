"""`deploy scale`: how many instances the live release has, and how many somebody wants."""

from __future__ import annotations

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.orders import carry_out
from deployer.cli.output import print_result
from deployer.cli.values import WholeNumber, duration
from deployer.core.errors import Exit
from deployer.core.limits import MOST_REPLICAS
from deployer.planning.orders import Order
from deployer.views.status_data import ScaleView


def _span(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float:
    """Return for how many seconds a size is wanted; 0 where that was not said. Raise BadParameter."""
    return 0.0 if value is None else duration(value)


@click.command("scale")
@common("file", "destination", "service", "message")
@click.argument("instances", type=WholeNumber(1, MOST_REPLICAS), metavar="[N]", required=False)
@click.option("--for", "span", metavar="TIME", callback=_span, help="How long, such as 2h; then as with --auto.")
@click.option("--auto", is_flag=True, help="As many as the manifest says or the load needs, from now on.")
def scale(common: Common, instances: int | None, span: float, auto: bool) -> int:
    """Show how many instances of the live release run and are wanted; with N, run N on each host.

    New ones get users once they are healthy. Surplus instances are drained and removed one at a time. The number
    holds for later deploys, too, until its time is over, or until --auto.
    """
    if instances and auto:
        raise click.UsageError("N and --auto exclude each other")
    if span and not instances:
        raise click.UsageError("--for goes with a number of instances: `deploy scale 4 --for 2h`")
    if instances or auto:
        return carry_out(common, Order("scale", reason=common.message, instances=instances or 0, seconds=span))
    with open_app(common) as app:
        status = app.status(app.service())
    print_result(ScaleView(status.service, status.size, status.keeper, status.problems), common.output)
    return int(Exit.DONE)

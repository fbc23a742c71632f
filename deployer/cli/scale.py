"""`deploy scale`: how many instances the live release has and somebody wants; what a policy would have done."""

from __future__ import annotations

from pathlib import Path

import click
from click.core import ParameterSource

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.orders import carry_out
from deployer.cli.output import print_result
from deployer.cli.values import WholeNumber, duration
from deployer.core.errors import Exit
from deployer.core.limits import MOST_REPLICAS
from deployer.planning.orders import Order
from deployer.views.data import ScaleView

START, LONGEST_START = "3s", 3600.0


def _span(_ctx: click.Context, _param: click.Parameter, value: str | None) -> float:
    """Return for how many seconds a size is wanted; 0 where that was not said. Raise BadParameter."""
    return 0.0 if value is None else duration(value)


def _start(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """Return how many seconds a start takes. Raise BadParameter."""
    from deployer.manifest.units import seconds

    try:
        given = seconds(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if not 0 < given <= LONGEST_START:
        raise click.BadParameter(f"must be above 0 and at most {LONGEST_START / 60:g} min, not {value}")
    return given


@click.command("scale")
@common("file", "destination", "service", "message")
@click.argument("instances", type=WholeNumber(1, MOST_REPLICAS), metavar="[N]", required=False)
@click.option(
    "--for", "span", metavar="TIME", callback=_span, help="How long N holds, such as 2h; then as with --auto."
)
@click.option("--auto", is_flag=True, help="From now on, run as many as the manifest says or the load needs.")
@click.option("--replay", metavar="FILE", type=click.Path(path_type=Path), help="Try `scale` on recorded traffic.")
@click.option(
    "--scale", "changes", metavar="KEY=VALUE", multiple=True, help="With --replay: also try it with this change."
)
@click.option(
    "--start",
    metavar="TIME",
    default=START,
    show_default=True,
    callback=_start,
    help="With --replay: time from the start of an instance to its first request.",
)
@click.option(
    "--fixed",
    metavar="N",
    type=WholeNumber(1, MOST_REPLICAS),
    show_default="scale.max",
    help="With --replay: the fixed size to compare with.",
)
@click.pass_context
def scale(
    ctx: click.Context,
    common: Common,
    instances: int | None,
    span: float,
    auto: bool,
    replay: Path | None,
    changes: tuple[str, ...],
    start: float,
    fixed: int | None,
) -> int:
    """Show how many instances of the live release run and are wanted; with N, run N on each host.

    New ones get users once they are healthy. Surplus instances are drained and removed one at a time. The number
    holds for later deploys, too, until its time is over, or until --auto.

    With --replay it changes nothing: it shows what the `scale` of the manifest would have done with the traffic in
    FILE, which `deploy record` wrote, next to a fixed size and to an oracle that knows what comes.
    """
    if replay is not None:
        if instances or auto:
            raise click.UsageError("--replay changes nothing: it goes neither with N nor with --auto")
        from deployer.cli.scaling_replay import print_replay

        return print_replay(common, replay, changes, start, fixed or 0)
    if changes or fixed or ctx.get_parameter_source("start") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--scale, --start and --fixed go with --replay FILE")
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

"""`deploy cost`: the instance-hours of services, by release, and what scaling and sleep saved."""

from __future__ import annotations

import re
import sys
import time

import click

from deployer.cli.opening import open_app
from deployer.cli.options import Common, common
from deployer.cli.output import print_result
from deployer.cli.values import duration
from deployer.core.errors import Exit
from deployer.views.cost import as_csv
from deployer.views.cost_data import CostsView

SINCE = "30d"
_MONTH = re.compile(r"(20\d\d)-(0[1-9]|1[0-2])")


def _month(_ctx: click.Context, _param: click.Parameter, text: str | None) -> tuple[float, float] | None:
    """Return the moments at which a month begins and ends, in local time. Raise BadParameter."""
    if text is None:
        return None
    if (found := _MONTH.fullmatch(text)) is None:
        raise click.BadParameter(f"must be a month such as 2026-11, not {text[:40]}")
    year, month = int(found[1]), int(found[2])
    return _first(year, month), _first(year + month // 12, month % 12 + 1)


def _first(year: int, month: int) -> float:
    return time.mktime((year, month, 1, 0, 0, 0, 0, 0, -1))


@click.command("cost")
@common()
@click.option("--service", metavar="NAME", help="Only this service; default: all.")
@click.option("--month", metavar="YYYY-MM", callback=_month, help="In this month, by local time.")
@click.option("--since", metavar="TIME", help=f"In the time up to now, such as 7d; default: {SINCE}.")
@click.option("--csv", "as_table", is_flag=True, help="Print CSV, a row for each release.")
def cost(
    common: Common, service: str | None, month: tuple[float, float] | None, since: str | None, as_table: bool
) -> int:
    """Show instance-hours by service and release, what was idle, and what scaling and sleep saved."""
    if month and since:
        raise click.UsageError("--month and --since exclude each other")
    now = time.time()
    began, ended = month or (now - duration(since or SINCE), now)
    with open_app(common) as app:
        names = (service,) if service else app.services()
        view = CostsView(began, min(ended, now), tuple(app.cost(name, began, ended) for name in names))
    if as_table:
        sys.stdout.write(as_csv(view))
    else:
        print_result(view, common.output)
    return int(Exit.DONE)

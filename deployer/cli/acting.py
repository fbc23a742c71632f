"""Orders as commands give them: carried out where the rollouts are, with the result as an exit code."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from deployer.cli.opening import open_app
from deployer.cli.options import Common
from deployer.cli.output import can_paint

if TYPE_CHECKING:
    from deployer.cli.pipeline import PipelineReports
    from deployer.planning.orders import Order, RolloutResult


def act(common: Common, order: Order, reports: PipelineReports | None = None) -> int:
    """Have an order carried out, print its ending, give its exit code; `reports` are told of it."""
    with open_app(common) as there:
        ending = there.act(order, reports)
    print_ending(common, ending)
    return int(ending.exit)


def print_ending(common: Common, ending: RolloutResult) -> None:
    """Print the ending on stdout; not for somebody who has just read it on the live page, nor among JSON lines."""
    seen = common.output == "text" and can_paint(sys.stderr) and sys.stdout.isatty() and ending.rollout
    if common.output != "json" and not seen:
        sys.stdout.write(f"{ending.text}\n")

"""Orders as commands give them: carried out where the rollouts are, under a view, with the result as an exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployer.cli.interrupts import Question, may_ask, question_of
from deployer.cli.opening import open_app
from deployer.cli.options import Common
from deployer.cli.output import can_paint, open_view, write_error
from deployer.cli.pipeline import PipelineReports, reports
from deployer.cli.session import signals
from deployer.core.errors import DeployError
from deployer.planning.orders import Choice, Order, RolloutResult, StopRequest

if TYPE_CHECKING:
    from deployer.core.events import Event, Sink


def carry_out(common: Common, order: Order) -> int:
    """Have an order carried out, print its ending, return its exit code; a pipeline gets its reports."""
    with reports(common.report) as told, open_app(common) as app:
        told.about(common.target)
        with attended(common, told) as (sink, stop):
            try:
                ending = app.carry_out(order, sink, stop)
            except DeployError as error:
                told.failed(error, app.report)
                raise
            told.ended(ending, app.report)
    print_ending(common, ending)
    return int(ending.exit)


@contextmanager
def attended(common: Common, told: PipelineReports) -> Iterator[tuple[Sink, StopRequest]]:
    """Open the view of an order, and let signals ask for its end: give the sink, which `told` hears, too, and that."""
    stop = StopRequest(detach=common.detaches)

    def decided(choice: Choice) -> None:
        stop.detach = choice == "detach"
        stop.asked.set()

    with (
        open_view(common.output) as view,
        Question(view, decided, lambda: question_of(common, told.service, told.rollout)) as question,
        signals(stop.asked, question.ask if may_ask(common) else None),
    ):

        def seen(event: Event) -> None:
            told.see(event)
            view(event)

        yield seen, stop


def print_ending(common: Common, ending: RolloutResult) -> None:
    """Print the ending on stdout; not for somebody who has just read it on the live page, nor among JSON lines.

    Where stdout takes nothing, the exit code still says how it ended: a reader that left, a full disk, a terminal
    that is gone (EIO, where `nohup` or a shell keeps SIGHUP away).
    """
    seen = common.output == "text" and can_paint(sys.stderr) and sys.stdout.isatty() and ending.rollout
    if common.output == "json" or seen:
        return
    try:
        sys.stdout.write(f"{ending.text}\n")
        sys.stdout.flush()
    except OSError as error:
        write_error(f"stdout takes nothing: {error.strerror}; {ending.text}")

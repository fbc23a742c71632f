"""What commands that act have in common: a house with a view, signals, and the ending as an exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from deployer.cli.gateways import gateway
from deployer.cli.options import Common
from deployer.cli.output import can_paint, open_view
from deployer.cli.pipeline import Reports

if TYPE_CHECKING:
    from deployer.events import Event, Sink
    from deployer.operations import House
    from deployer.orders import Ending, Order


@contextmanager
def house(
    common: Common, *, view: bool = True, reports: Reports | None = None, sink: Sink | None = None
) -> Iterator[House]:
    """Open the state folder of a command, with a view of what happens unless the command only reads.

    With a `sink` the command has a view of its own, and ends at once when it is interrupted.
    """
    from deployer.wiring import open_house

    if common.server is not None:  # a part of a command that is served, or one whose name is missing in `lazy.SERVED`
        import click

        raise common.server.refusal(click.get_current_context().command_path)
    if sink is not None:
        with open_house(common.state, sink) as opened:
            yield opened
        return
    if not view:
        with open_house(common.state) as opened:
            yield opened
        return
    stop_asked = threading.Event()
    with open_view(common.output) as sink, signals(stop_asked):

        def seen(event: Event) -> None:
            if reports is not None:
                reports.see(event)
            sink(event)

        with open_house(common.state, seen, stop_asked, detach=common.on_cancel == "detach") as opened:
            yield opened


@contextmanager
def signals(stop_asked: threading.Event) -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask for an orderly end; a second SIGINT leaves at once (`deploy resume` goes on then).

    Gives a list that gets the signals that come.
    """
    heard: list[int] = []

    def asked(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if stop_asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop_asked.set()

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def act(common: Common, order: Order, reports: Reports | None = None) -> int:
    """Have an order carried out, print its ending, give its exit code; `reports` are told of it."""
    with gateway(common) as there:
        ending = there.act(order, reports)
    print_ending(common, ending)
    return int(ending.exit)


def print_ending(common: Common, ending: Ending) -> None:
    """Print the ending on stdout; not for somebody who has just read it on the live page, nor among JSON lines."""
    seen = common.output == "text" and can_paint(sys.stderr) and sys.stdout.isatty() and ending.rollout
    if common.output != "json" and not seen:
        sys.stdout.write(f"{ending.text}\n")

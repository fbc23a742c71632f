"""What commands that act have in common: a house with a view, signals, and the ending as an exit code."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from deployer.cli.gateways import gateway
from deployer.cli.leaving import Question, may_ask
from deployer.cli.options import Common
from deployer.cli.output import can_paint, open_view
from deployer.cli.pipeline import Reports

if TYPE_CHECKING:
    from deployer.events import Event, Sink
    from deployer.operations import House
    from deployer.orders import Choice, Ending, Order


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
    at_work: list[House] = []

    def decided(choice: Choice) -> None:
        for each in at_work:
            each.detach = choice == "detach"
        stop_asked.set()

    with (
        open_view(common.output) as sink,
        Question(sink, decided) as question,
        signals(stop_asked, question.ask if may_ask(common) else None),
    ):

        def seen(event: Event) -> None:
            if reports is not None:
                reports.see(event)
            sink(event)

        with open_house(common.state, seen, stop_asked, detach=common.on_cancel == "detach") as opened:
            at_work.append(opened)
            yield opened


@contextmanager
def signals(stop_asked: threading.Event, ask: Callable[[], None] | None = None) -> Iterator[list[int]]:
    """SIGINT and SIGTERM ask for an orderly end; a second SIGINT leaves at once (`deploy resume` goes on then).

    With `ask`, SIGINT asks the person at the terminal instead. A terminal that is closed (SIGHUP) ends nothing: the
    rollout goes on without it. Gives a list that gets the signals that come.
    """
    heard: list[int] = []

    def asked(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if number == signal.SIGHUP:
            _without(terminals)
            return
        if ask is not None and number == signal.SIGINT and not stop_asked.is_set():
            ask()
            return
        if stop_asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop_asked.set()

    terminals = [number for number in range(3) if os.isatty(number)]
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # `nohup` has seen to it
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, asked) for number in numbers}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _without(terminals: Sequence[int]) -> None:
    """Read nothing and write nowhere from now on, where that was the terminal which is gone."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in terminals:
        os.dup2(nowhere, number)
    os.close(nowhere)


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

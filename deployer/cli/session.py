"""What commands of this host have in common: its state folder, and what signals do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from deployer.cli.options import Common

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.core.events import Sink
    from deployer.planning.orders import StopRequest


def house(common: Common, sink: Sink = lambda _event: None, stop: StopRequest | None = None) -> AppContext:
    """Open the state folder of a command that works on this host only. Raise Refused where a server is named."""
    from deployer.app.wiring import open_house

    if common.server is not None:  # a part of a command that is served, or one that is listed so in `lazy.COMMANDS`
        import click

        raise common.server.refusal(click.get_current_context().command_path)
    return open_house(common.state, sink, stop)


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

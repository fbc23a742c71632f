"""What a signal does to a rollout elsewhere: it is left there, taken back there, or nothing; a person is asked."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.cli.options import Common
from deployer.cli.output import aside

if TYPE_CHECKING:
    from deployer.events import Sink
    from deployer.remote.client import Run
    from deployer.remote.orders import Choice

ANSWER_SECONDS = 60.0  # in which whoever is asked answers; without an answer nothing is changed


def decide(common: Common, heard: Sequence[int], stop: threading.Event, view: Sink, url: str, run: Run) -> Choice:
    """Decide what becomes of an order that is under way, after signals were heard; clear `stop` if it is to stay."""
    if common.on_cancel is not None:
        return common.on_cancel
    if signal.SIGTERM in heard or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return "detach"  # nobody is here to be asked
    what = f"rollout {run.rollout} of {run.service}" if run.rollout else f"the order for {run.service}"
    with aside(view):
        choice = _ask(f"{what} is under way at {url}: [d]etach and leave it there, [a]bort it, or Enter to stay? ")
        if choice == "stay":
            stop.clear()
        return choice


def _ask(question: str) -> Choice:
    try:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before is no answer
        while True:
            sys.stderr.write(question)
            sys.stderr.flush()
            if not select.select([sys.stdin], [], [], ANSWER_SECONDS)[0]:
                sys.stderr.write(f"\nno answer within {ANSWER_SECONDS:g} s: staying\n")
                return "stay"
            match os.read(sys.stdin.fileno(), 1024).decode(errors="replace").lower():
                case "d\n" | "detach\n":
                    return "detach"
                case "a\n" | "abort\n":
                    return "abort"
                case "\n":
                    return "stay"
                case "":
                    return "detach"
    except (KeyboardInterrupt, OSError, termios.error):  # asked twice to end, or the terminal is gone
        return "detach"

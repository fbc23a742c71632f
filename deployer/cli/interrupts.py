"""What a signal does to a rollout, here or elsewhere: it is detached, aborted, or goes on; a person is asked."""

from __future__ import annotations

import os
import select
import sys
import termios
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deployer.cli.options import Common
from deployer.cli.output import aside

if TYPE_CHECKING:
    from deployer.core.events import Sink
    from deployer.planning.orders import Choice

ANSWER_SECONDS = 60.0  # in which whoever is asked answers; without an answer nothing is changed


HERE = (
    "[d]etach (users return to the stable release when the lease ends; `deploy resume` goes on),"
    " [a]bort and roll back, or Enter to go on? "
)


def question_of(common: Common, service: str, rollout: int) -> str:
    """Return what a person is asked whose order is in progress, here or at a server."""
    if common.server is None:
        return HERE
    about = service or "the set"
    what = f"rollout {rollout} of {about}" if rollout else f"the order for {about}"
    return f"{what} is in progress at {common.server.url}: [d]etach and leave it there, [a]bort it, or Enter to stay? "


class Question:
    """What is asked of the terminal while a rollout goes on; asked twice, it is detached at once.

    A thread of its own asks: neither the lease nor the analysis waits for the answer.
    """

    def __init__(self, view: Sink, decided: Callable[[Choice], None], text: Callable[[], str]) -> None:
        self._view, self._decided, self._text = view, decided, text
        self._thread: threading.Thread | None = None
        self._asking = False
        self._over, self._end = os.pipe()

    def ask(self) -> None:
        """Ask, and let it be decided by the answer."""
        if self._asking:
            self._decided("detach")
            return
        self._asking = True
        self._thread = threading.Thread(target=self._run, name="question", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with aside(self._view):
            choice = _ask(self._text(), self._over)
            self._asking = False  # whoever sees the page again may be asked again
        if choice != "stay":
            self._decided(choice)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._end)  # nobody has to answer any more
        if self._thread is not None:
            self._thread.join(ANSWER_SECONDS)
        os.close(self._over)


def may_ask(common: Common) -> bool:
    """Return whether a person is there who can be asked, and has not said it beforehand."""
    return common.on_cancel is None and sys.stdin.isatty() and sys.stderr.isatty()


def _ask(question: str, over: int) -> Choice:
    try:
        termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before is no answer
        while True:
            sys.stderr.write(question)
            sys.stderr.flush()
            ready = select.select([sys.stdin, over], [], [], ANSWER_SECONDS)[0]
            if over in ready:
                sys.stderr.write("\n")
                return "stay"
            if not ready:
                sys.stderr.write(f"\nno response within {ANSWER_SECONDS:g} s: going on\n")
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

"""Work in the background: while a block is open, in a thread with an event that asks it to end; or for so long."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")


class BackgroundThread:
    """A thread that does `work` while it is open. `work` gets the event that asks it to end, within `patience` seconds.

    Without `patience`, the end is waited for: each of the calls of `work` then has a time-out of its own. An error that
    ends `work` is kept: `check` raises it, and the end of the block.
    """

    def __init__(self, name: str, work: Callable[[threading.Event], None], patience: float | None = None) -> None:
        self._work, self._patience = work, patience
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self.over = threading.Event()
        self.error: Exception | None = None
        self._trace: TracebackType | None = None  # of the error, up to where it ended the work

    def start(self) -> None:
        """Begin the work."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for the end, and wait for it; a thread that never began is no error."""
        self.over.set()
        if self._thread.is_alive():
            self._thread.join(self._patience)

    def check(self) -> None:
        """Raise the error that ended the work, if one did."""
        if self.error is not None:
            raise self.error.with_traceback(self._trace)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if error is None:
            self.check()
        elif self.error is not None:
            error.add_note(f"before that, {self._thread.name} had ended: {self.error!r}")

    def _run(self) -> None:
        try:
            self._work(self.over)
        except Exception as error:  # noqa: BLE001 - raised by `check`, in the thread of whoever opened it
            self._trace = error.__traceback__
            self.error = error


def every(seconds: float, look: Callable[[], object]) -> Callable[[threading.Event], None]:
    """Return a work that calls `look` after each pause of so many seconds, until it is asked to end."""

    def work(over: threading.Event) -> None:
        while not over.wait(seconds):
            look()

    return work


def within(seconds: float, name: str, work: Callable[[], T]) -> T:
    """Do something that may wait longer than it should, and return what it returns.

    Raise TimeoutError where it takes longer; it is left to itself then, in a thread of that name.
    """
    ended: queue.SimpleQueue[tuple[T] | BaseException] = queue.SimpleQueue()

    def do() -> None:
        try:
            ended.put((work(),))
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it
            ended.put(error)

    threading.Thread(target=do, name=name, daemon=True).start()
    try:
        outcome = ended.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TimeoutError(f"no complete response within {seconds:.3g} s") from None
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome[0]

"""Waiting for the answer of a database no longer than it may take, at next to no cost for each statement."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from deployer.core.background import BackgroundThread

LOOK_SECONDS = 0.25  # between two looks at how long somebody waits
REST_SECONDS = 60.0  # without a statement, after which the thread ends


class AnswerWatch:
    """Calls `cut` where a statement takes too long; one thread looks, as long as there are statements.

    When the block of a statement has ended it is not cut any more.
    """

    def __init__(self, cut: Callable[[], None]) -> None:
        self._cut = cut
        self._mutex = threading.Lock()
        self._until = 0.0  # on the monotonic clock; 0 while nobody waits
        self._asked = threading.Event()  # since the thread began to look
        self._thread: BackgroundThread | None = None

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """Have a statement in this block; there is one at a time."""
        with self._mutex:
            self._until = time.monotonic() + seconds
            self._asked.set()
            if self._thread is None:
                self._thread = BackgroundThread("answers", self._look)
                self._thread.start()
            self._thread.check()
        try:
            yield
        finally:
            with self._mutex:
                self._until = 0.0

    def close(self) -> None:
        """Look no more."""
        if (thread := self._thread) is not None:
            thread.over.set()
            self._asked.set()

    def _look(self, over: threading.Event) -> None:
        while True:
            self._asked.wait(REST_SECONDS)
            with self._mutex:
                if over.is_set() or not self._asked.is_set():
                    self._thread = None  # the next statement begins another one
                    return
                self._asked.clear()
            waiting = True
            while waiting and not over.wait(LOOK_SECONDS):
                with self._mutex:
                    waiting = bool(self._until)
                    if waiting and time.monotonic() >= self._until:
                        self._until = 0.0
                        self._cut()

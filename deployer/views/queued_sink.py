"""Takes a slow stream off the rollout's way: events are written by a thread of their own."""

from __future__ import annotations

import queue
import threading
from types import TracebackType

from deployer.core.events import Event, Sink


class QueuedSink:
    """A sink that hands events to `sink` in order, from another thread; a context manager.

    A pager that is not read, or a pipe whose reader has left, must not hold or end a rollout. After the first error
    nothing more is written; `broken` keeps it. Leaving waits until everything is written.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write, name="view", daemon=True)
        self.broken: Exception | None = None

    def __call__(self, event: Event) -> None:
        """Take an event; never raises, never waits."""
        self._events.put(event)

    def __enter__(self) -> QueuedSink:
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._events.put(None)
        self._writer.join()

    def _write(self) -> None:
        while (event := self._events.get()) is not None:
            if self.broken:
                continue
            try:
                self._sink(event)
            except Exception as error:  # noqa: BLE001 - kept for whoever opened the view; the rollout goes on
                self.broken = error

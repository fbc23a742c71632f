"""The event stream of the store, read once for however many clients listen.

A client that falls behind costs nothing: nothing is queued for it, it reads on from where it is, from the last events
in memory or, further back, from the store.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable

from deployer.core.events import Event

POLL_SECONDS = 0.2
KEPT = 2000  # events in memory
BATCH = 500  # events read at a time

Read = Callable[[int, int], tuple[Event, ...]]


class Hub:
    """Follows the store while anybody listens.

    `read(after, limit)` and `last()` ask the store; `look()` gives the newest sample of each rollout that is driven.
    """

    def __init__(self, read: Read, last: Callable[[], int], look: Callable[[], dict[int, Event]]) -> None:
        self._read, self._last, self._look = read, last, look
        self._events: list[Event] = []  # the newest, without a gap
        self._seen = 0  # id of the newest event that was read
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._closed = False
        self.listeners = 0
        self.samples: dict[int, Event] = {}

    def close(self) -> None:
        """End all streams."""
        self._closed = True
        self._changed.set()

    async def last(self) -> int:
        """Return the id of the newest event in the store."""
        return await asyncio.to_thread(self._last)

    async def follow(self, after: int, every: float) -> AsyncIterator[tuple[list[Event], dict[int, Event]]]:
        """Yield the events after an id, as they come, and the newest samples, all of whose past was given.

        No events are given where only samples came, or nothing has come for `every` seconds. Raises what reading the
        store raises.
        """
        self.listeners += 1
        told: dict[int, Event] = {}
        try:
            while not self._closed:
                poller, changed, samples = self._polling(), self._changed, self.samples
                fresh = await self._after(after)
                if fresh or samples != told:
                    after, told = fresh[-1].id if fresh else after, samples
                    yield fresh, samples
                    continue
                try:
                    async with asyncio.timeout(every):
                        await changed.wait()
                except TimeoutError:
                    yield [], samples
                if poller.done() and not poller.cancelled():
                    poller.result()
        finally:
            self.listeners -= 1
            if not self.listeners and self._poller is not None:
                self._poller.cancel()
                self._poller = None

    def _polling(self) -> asyncio.Task[None]:
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="events")
        return self._poller

    async def _after(self, after: int) -> list[Event]:
        if after >= self._seen:
            return []
        if self._events and after >= self._events[0].id - 1:
            return self._events[bisect_right(self._events, after, key=lambda event: event.id) :]
        return list(await asyncio.to_thread(self._read, after, BATCH))

    async def _poll(self) -> None:
        try:
            seen = await self.last()
            self._events, self._seen = [], seen
            self._wake()
            while not self._closed:
                samples = await asyncio.to_thread(self._look)  # first: what led to them is among the events then
                fresh = await asyncio.to_thread(self._read, self._seen, BATCH)
                if fresh:
                    self._events = [*self._events, *fresh][-KEPT:]
                    self._seen = fresh[-1].id
                if fresh or samples != self.samples:
                    self.samples = samples
                    self._wake()
                if len(fresh) < BATCH:
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            self._wake()  # whoever waits finds that nobody reads any more

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

"""What the proxy has of the requests of a service."""

from __future__ import annotations

from dataclasses import dataclass

SLOT_SECONDS = 300.0  # of what was seen of a load, in a row


@dataclass(frozen=True)
class Load:
    """What a place has of requests, WebSockets and tcp sessions: `open` now, and all so far (`total`).

    Of those that are open some are on an instance (`running`) and some wait until one has room (`waiting`); a client
    may still be reading what an instance has done with.
    """

    open: int = 0
    running: int = 0
    waiting: int = 0
    total: int = 0
    wakers: int = 0  # another number after each request that keeps a service awake

    @property
    def busy(self) -> int:
        """How many need an instance now."""
        return self.running + self.waiting

    def __add__(self, more: Load) -> Load:
        """Return the load of two workers, or two proxies, together."""
        return Load(
            self.open + more.open,
            self.running + more.running,
            self.waiting + more.waiting,
            self.total + more.total,
            self.wakers + more.wakers,
        )

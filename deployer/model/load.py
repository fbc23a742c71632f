"""What the proxy has of the requests of a service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

SLOT_SECONDS = 300.0  # of what is recorded of a load, in one row


@dataclass(frozen=True)
class InstanceLoad:
    """What an instance has of them: on it now (`running`), all so far (`total`), and those of them that `failed`."""

    running: int = 0
    total: int = 0
    failed: int = 0

    def __add__(self, more: InstanceLoad) -> InstanceLoad:
        """Return what it has of two workers, or two proxies, together."""
        return InstanceLoad(self.running + more.running, self.total + more.total, self.failed + more.failed)


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
    instances: Mapping[str, InstanceLoad] = field(default_factory=dict, compare=False)  # by name

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
            {
                name: self.instances.get(name, InstanceLoad()) + more.instances.get(name, InstanceLoad())
                for name in {**self.instances, **more.instances}
            },
        )

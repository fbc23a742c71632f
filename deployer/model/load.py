"""What the proxy has of the requests of a service."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import reduce

SLOT_SECONDS = 300.0  # of what is recorded of a load, in one row


@dataclass(frozen=True)
class InstanceLoad:
    """What an instance has of them: on it now (`running`), all so far (`total`), and those of them that `failed`.

    Each worker of each proxy counts for itself and has a limit of its own. `shares` is how much of `running` is of each
    of several; empty where only one counts.
    """

    running: int = 0
    total: int = 0
    failed: int = 0
    shares: tuple[int, ...] = ()

    @property
    def each(self) -> tuple[int, ...]:
        """How many are on it of each worker that counts."""
        return self.shares or (self.running,)

    def __add__(self, more: InstanceLoad) -> InstanceLoad:
        """Return what it has of two workers, or two proxies, together."""
        running, total, failed = self.running + more.running, self.total + more.total, self.failed + more.failed
        return InstanceLoad(running, total, failed, self.each + more.each)


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
            {name: _together(name, self, more) for name in {**self.instances, **more.instances}},
        )


def _together(name: str, *loads: Load) -> InstanceLoad:
    return reduce(operator.add, (load.instances[name] for load in loads if name in load.instances))

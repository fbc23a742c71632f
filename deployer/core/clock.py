"""Time as an argument: wall clock, monotonic clock, sleep, deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from deployer.core.errors import DeadlinePassed

T = TypeVar("T")


class Clock(Protocol):
    """What the engine and the drivers may know about time."""

    def now(self) -> float:
        """Return the wall clock, Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The host's clock."""

    def now(self) -> float:
        """Return the wall clock, Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


@dataclass(frozen=True)
class Deadline:
    """The end of a wait, on a monotonic clock."""

    clock: Clock
    at: float
    seconds: float

    @classmethod
    def after(cls, clock: Clock, seconds: float) -> Deadline:
        """Make a deadline `seconds` from now."""
        return cls(clock, clock.monotonic() + seconds, seconds)

    def left(self) -> float:
        """Return the seconds that remain, never negative."""
        return max(0.0, self.at - self.clock.monotonic())

    def passed(self) -> bool:
        """Return whether the wait is over."""
        return self.clock.monotonic() >= self.at

    def check(self, what: str, hint: str = "") -> None:
        """Raise DeadlinePassed, naming what was waited for, once the time is over."""
        if self.passed():
            raise DeadlinePassed(f"{what}: not within {self.seconds:g} s", hint)

    def over(self, items: Iterable[T], what: str) -> Iterator[T]:
        """Yield what comes of a stream; raise DeadlinePassed once the time is over, however little comes at a time."""
        for item in items:
            self.check(what)
            yield item

    def until(self, ready: Callable[[], bool], what: str, *, every: float = 0.05, hint: str = "") -> None:
        """Poll `ready` until it is true; raise DeadlinePassed at the end."""
        if not self.wait(ready, every=every):
            self.check(what, hint)

    def wait(self, ready: Callable[[], bool], *, every: float = 0.05) -> bool:
        """Poll `ready` until it is true or the time is over; return what it said last."""
        while not ready():
            if self.passed():
                return False
            self.clock.sleep(min(every, max(self.left(), 0.001)))
        return True


def stamp(at: float) -> str:
    """Write a moment in local time, to the second."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))

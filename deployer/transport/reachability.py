"""What was heard of a host, believed for a moment: whoever looks every second does not wait for one that is silent."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from deployer.core.clock import Clock

AGAIN_SECONDS = 2.0  # after which a host is asked again, in the background
STALE_SECONDS = 20.0  # after which what was heard is too old to be believed
T = TypeVar("T")


class LastHeard(Generic[T]):
    """What one host said last, or that it was silent."""

    def __init__(self, name: str, clock: Clock) -> None:
        self._name, self._clock = name, clock
        self._mutex = threading.Lock()
        self._heard: T | None = None
        self._at = 0.0
        self._changes = 0  # how often it was void: an answer to what was asked before says nothing
        self._asking = False

    def known(self, ask: Callable[[], T | None]) -> T | None:
        """Return what is believed, None for nothing; it is asked again in the background when it is not fresh."""
        with self._mutex:
            age = self._clock.monotonic() - self._at
            if self._heard is None or age >= STALE_SECONDS:
                return None
            again = age >= AGAIN_SECONDS and not self._asking
            self._asking = self._asking or again
            heard = self._heard
        if again:
            threading.Thread(target=self._again, args=(ask,), name=f"ask-{self._name}", daemon=True).start()
        return heard

    def ask(self, ask: Callable[[], T | None]) -> T | None:
        """Ask now, and return what is said; None where that was void before it came."""
        with self._mutex:
            changes = self._changes
        heard = ask()
        with self._mutex:
            if changes != self._changes:
                return None
            self._heard, self._at = heard, self._clock.monotonic()
        return heard

    def keep(self, heard: T) -> None:
        """Remember what was heard just now."""
        self.ask(lambda: heard)

    def forget(self) -> None:
        """Believe nothing that was heard or asked until now."""
        with self._mutex:
            self._changes += 1
            self._heard = None

    def _again(self, ask: Callable[[], T | None]) -> None:
        try:
            self.ask(ask)
        finally:
            with self._mutex:
                self._asking = False

"""How long to wait before a program that ended is started again."""

from __future__ import annotations

FIRST, MOST = 0.1, 5.0
STEADY = 10.0  # a program that lived this long has earned an immediate restart


class Backoff:
    """Waits in seconds: none at first, then 0.1 doubling to 5; a life of 10 s starts over."""

    def __init__(self) -> None:
        self._next = 0.0

    def after(self, lived: float) -> float:
        """Return the wait after a life of `lived` seconds."""
        if lived >= STEADY:
            self._next = 0.0
        wait = self._next
        self._next = min(MOST, max(FIRST, wait * 2))
        return wait

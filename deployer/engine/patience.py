"""Patience with a proxy or a runtime that is unreachable for a moment while a candidate is watched."""

from __future__ import annotations

from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.engine.run import Drive

SECONDS = 10.0  # one that restarts is back by then


class Patience:
    """Since when the world gives no answer; `out` is true while that lasts."""

    def __init__(self, run: Drive) -> None:
        self._run = run
        self._since: float | None = None

    @property
    def out(self) -> bool:
        """Return whether the last look had no answer."""
        return self._since is not None

    def ended(self) -> None:
        """Note that there was an answer."""
        self._since = None

    def hear(self, error: DriverFailed | DeadlinePassed) -> None:
        """Note that there was none. Raise the error once that has lasted for too long."""
        now = self._run.clock.monotonic()
        if self._since is None:
            self._since = now
            self._run.tell("note", text=f"cannot look, trying again for {SECONDS:g} s: {error.message}")
        elif now - self._since > SECONDS:
            raise error

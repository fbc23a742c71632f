"""How long a test waits at most for what happens beside it: much longer than it takes, also on a busy host."""

from __future__ import annotations

from deployer.core.clock import Deadline, SystemClock


def within(seconds: float = 20.0) -> Deadline:
    """Return a deadline by the clock of the system."""
    return Deadline.after(SystemClock(), seconds)

"""Runs of the server: to wait until the processes of them have ended, which write into the state folder until then."""

from __future__ import annotations

import threading
from collections.abc import Iterable

SECONDS = 30.0


def joined(runs: Iterable[str]) -> None:
    """Wait for the threads that wait for the processes of these runs."""
    wanted = {f"run {run}" for run in runs}
    for thread in threading.enumerate():
        if thread.name in wanted:
            thread.join(SECONDS)
            assert not thread.is_alive(), f"{thread.name} has not ended within {SECONDS} s"

"""Ends all processes of a run by the mark in their environment.

Ansible's own workers start sessions of their own, and what they start may be adopted by PID 1: neither a process group
nor the family tree finds them all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from deployer.drivers.hosts.environ import MARK

_PATIENCE = 5.0  # seconds that the kernel gets to end what was killed


def end_marked(mark: str) -> tuple[int, ...]:
    """Kill every process that carries the mark; return those that would not die (or are not ours to kill)."""
    until = time.monotonic() + _PATIENCE
    while left := tuple(marked(mark)):
        if time.monotonic() > until:
            return left
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue  # gone meanwhile, or reported at the end
        time.sleep(0.02)
    return ()


def marked(mark: str) -> Iterator[int]:
    """Yield the pids of the living processes that carry the mark and that we may look at, ourselves excepted."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            carries = wanted in (entry / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if carries:
            yield int(entry.name)

"""Who holds the lock of a file, as the kernel lists it: for messages, never for decisions."""

from __future__ import annotations

import os
from pathlib import Path


def writers(path: Path) -> tuple[str, ...]:
    """Name the processes that have a part of a file locked for writing: `process 4711 (stopped)`.

    Empty when nobody has, or when only processes have that are not seen from here, such as those of another container.
    """
    try:
        held, lines = path.stat(), Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return ()
    wanted = f"{os.major(held.st_dev):02x}:{os.minor(held.st_dev):02x}:{held.st_ino}"
    # 1: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120; waiting ones have an arrow after the number
    words = (line.split() for line in lines)
    pids = {int(w[4]) for w in words if len(w) == 8 and w[3] == "WRITE" and w[5] == wanted and w[1] != "->"}
    return tuple(f"process {pid}{' (stopped)' if stopped(pid) else ''}" for pid in sorted(pids) if pid > 0)


def stopped(pid: int) -> bool:
    """Tell whether a process is stopped, by SIGSTOP, Ctrl-Z or a debugger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"

"""Who holds the lock of a file, as the kernel says of open files: for messages, never for decisions."""

from __future__ import annotations

import os
from pathlib import Path


def holders(path: Path, *, writing: bool = False) -> tuple[str, ...]:
    """Name the processes that have a lock of a file, or of a part of it: `process 4711 (stopped)`.

    With `writing` only those that nobody shares it with. Empty when nobody has, or when only processes have that are
    not seen from here, such as those of another container. /proc/PID/fdinfo (proc(5)) has the locks of processes and
    those of open files; /proc/locks gives the latter no pid.
    """
    try:
        there = path.stat()
    except OSError:
        return ()
    kinds = (" WRITE ",) if writing else (" WRITE ", " READ ")
    pids = sorted(int(found.name) for found in Path("/proc").iterdir() if found.name.isdigit())
    return tuple(f"process {pid}{' (stopped)' if _stopped(pid) else ''}" for pid in pids if _has(pid, there, kinds))


def _has(pid: int, there: os.stat_result, kinds: tuple[str, ...]) -> bool:
    try:
        with os.scandir(f"/proc/{pid}/fd") as opened:
            # lock:	1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF
            return any(
                line.startswith("lock:") and any(kind in line for kind in kinds)
                for file in opened
                if os.path.samestat(file.stat(), there)
                for line in Path(f"/proc/{pid}/fdinfo/{file.name}").read_text(encoding="ascii").splitlines()
            )
    except OSError:
        return False  # it has ended, or belongs to somebody else


def _stopped(pid: int) -> bool:
    """Return whether a process is stopped, by SIGSTOP, Ctrl-Z or a debugger."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] in "Tt"

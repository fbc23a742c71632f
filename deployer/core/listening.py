"""Which program listens at a port of this host, as the kernel says in /proc (proc_net(5), proc_pid_fd(5))."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc")
_LISTENS = "0A"  # TCP_LISTEN


def program_at(port: int) -> str:
    """Return a program that listens at a port, as `nginx (process 812)`; "" if none is known.

    The sockets of other users are shown to root only.
    """
    wanted = {f"socket:[{inode}]" for inode in _sockets(port)}
    if not wanted:
        return ""
    for process in sorted((p for p in _PROC.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
        try:
            if any(str(entry.readlink()) in wanted for entry in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # it has ended, or is another user's
    return ""


def _sockets(port: int) -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue  # without IPv6 there is no tcp6
        for fields in map(str.split, lines):
            if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                yield fields[9]

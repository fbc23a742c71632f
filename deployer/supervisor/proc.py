"""Processes by identity: a pid together with its start, so that a reused pid is never signalled by mistake."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


def boot_id() -> str:
    """Name this boot of the host; start times count from it."""
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _stat(pid: int) -> list[str] | None:
    """Read the fields of /proc/PID/stat from the state on."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes().decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text.rpartition(")")[2].split()  # the name in brackets may hold anything


@dataclass(frozen=True)
class Process:
    """One process; `started` is in clock ticks since boot."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> Process | None:
        """Return the living process with this pid; a zombie does not live."""
        fields = _stat(pid)
        if fields is None or fields[0] in "ZX":
            return None
        return cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Return whether exactly this process lives."""
        return Process.of(self.pid) == self

    def paused(self) -> bool:
        """Return whether a signal has stopped it where it is, until another one has it go on."""
        fields = _stat(self.pid)
        return fields is not None and fields[0] == "T" and int(fields[19]) == self.started

    def age(self) -> float:
        """Return the seconds since its start, whether or not it still lives."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")

    @contextmanager
    def handle(self) -> Iterator[int | None]:
        """Open a descriptor that stands for this process and no later one; None when it is gone."""
        fd = self.open()
        try:
            yield fd
        finally:
            if fd is not None:
                os.close(fd)

    def open(self) -> int | None:
        """Open the pidfd; None when the process is gone. The caller closes it."""
        try:
            fd = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return None
        if self.alive():  # looked at after opening: the descriptor is this process's, not its successor's
            return fd
        os.close(fd)
        return None


def send(pidfd: int, number: signal.Signals) -> None:
    """Signal the process; one that has ended is no error."""
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return


def wait(pidfd: int, seconds: float) -> bool:
    """Wait until the process has ended; return whether it has. Works for processes that are not our children."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(max(0, int(seconds * 1000 + 0.999))))


def kill_group(leader: Process) -> None:
    """Kill what is left of the process group that `leader` leads or led."""
    signal_group(leader, signal.SIGKILL)


def signal_group(leader: Process, number: signal.Signals) -> None:
    """Signal what is left of the process group that `leader` leads or led.

    While one member lives the kernel does not give the leader's pid to anybody else; if the pid belongs to another
    process by now, the group is empty.
    """
    now = _stat(leader.pid)
    if now is not None and int(now[19]) != leader.started:
        return
    try:
        os.killpg(leader.pid, number)
    except (ProcessLookupError, PermissionError):  # EPERM: only zombies, or programs that changed their user, are left
        return

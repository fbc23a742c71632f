"""Who has the right to change a service, and the sentences in which others are told so."""

from __future__ import annotations

import time
from dataclasses import dataclass

from deployer.store.actor import Actor
from deployer.supervisor.proc import Process, boot_id


@dataclass(frozen=True)
class Lock:
    """The right to change a service; `token` is the fence: it grows with each owner.

    `since` is Unix seconds. `beat` is the owner's last sign of life in seconds of the monotonic clock, which counts
    from the `boot` of that name and which nobody sets.
    """

    service: str
    token: int
    owner: str
    origin: str
    host: str
    pid: int
    pid_started: int
    version: str  # of the deployer
    purpose: str
    since: float
    boot: str
    beat: float

    @classmethod
    def of(cls, actor: Actor, service: str, token: int, purpose: str, *, now: float, monotonic: float) -> Lock:
        """Make the lock of this process."""
        this = Process.of(actor.pid)
        started = this.started if this else 0
        who = (actor.by, actor.origin, actor.host, actor.pid, started, actor.version)
        return cls(service, token, *who, purpose, now, boot_id(), monotonic)

    def silent(self, monotonic: float) -> float:
        """Return the seconds since the last beat; 0 where they cannot be known: its clock is that of another boot."""
        return monotonic - self.beat if self.boot == boot_id() else 0.0

    # -- in words

    @property
    def where(self) -> str:
        """Name the process."""
        return f"pid {self.pid} on {self.host}"

    def explain(self, now: float) -> str:
        """Return who changes the service since when, what for, from where, with which version."""
        return (
            f"{self.service} is being changed by {self.owner} since {_moment(self.since, now)}: {self.purpose}"
            f" ({self.where}, {self.origin}, deployer {self.version})"
        )

    def how_to_end(self) -> str:
        """Return how to let the process go on, or end it, where its pid means anything."""
        if Process(self.pid, self.pid_started).alive():
            return f"let it go on (kill -CONT {self.pid}) or end it (kill -9 {self.pid}): nothing is lost by that"
        return f"let it go on, or end it, where it runs: {self.where}; nothing is lost by that"


def _moment(at: float, now: float) -> str:
    """Write a time of day, with its date where that is not today."""
    then = time.localtime(at)
    today = then[:3] == time.localtime(now)[:3]
    return time.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S", then)

"""What stands of a service as one drive sees it, and which hosts give no answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import HostsUnreachable
from deployer.core.events import Tell
from deployer.core.retrying import retry
from deployer.drivers.ports import ELECTION_SECONDS, Running, Runtime, standing

T = TypeVar("T")
AGAIN_SECONDS = 1.0


@dataclass
class HostObserver:
    """Looks at the runtime; a host that falls silent is told once, and once more when it is reachable again."""

    runtime: Runtime
    service: str
    tell: Tell
    clock: Clock
    silent: dict[str, str] = field(default_factory=dict)  # hosts that gave no answer when they were asked last

    def standing(self) -> Running:
        """Read what is running, but on hosts that are silent."""
        seen = standing(self.runtime, self.service)
        self.hear(seen.silent)
        return seen

    def hear(self, silent: Mapping[str, str]) -> None:
        """Report which hosts have fallen silent, and which answer again."""
        fallen = {host: why for host, why in silent.items() if host not in self.silent}
        back = [host for host in self.silent if host not in silent]
        self.silent = dict(silent)
        for host, why in fallen.items():
            self.tell("host.unreachable", host=host, text=f"{host or 'this host'} is unreachable: {why}")
        for host in back:
            self.tell("host.back", host=host, text=f"{host or 'this host'} is reachable again")

    def insist(self, work: Callable[[], T]) -> T:
        """Return what `work` gives, which needs all of its hosts. Raise HostsUnreachable where some stay silent.

        What moves instances may do as it is told in a moment: its managers elect a leader when they lost theirs.
        """
        patience = Deadline.after(self.clock, ELECTION_SECONDS if self.runtime.moves else 0.0)
        return retry(work, patience, HostsUnreachable, pauses=(AGAIN_SECONDS,))

    def settled(self) -> Running:
        """Read what is running; what moves instances gets the time to respond, so that all of it is seen.

        It need not: then what is seen without it counts.
        """
        try:
            seen = Running(self.insist(lambda: self.runtime.instances(self.service)), {})
        except HostsUnreachable as error:
            seen = Running(error.seen, error.silent)
        self.hear(seen.silent)
        return seen

    def silent_of(self, hosts: Collection[str]) -> dict[str, str]:
        """Return those of some hosts that are silent, and why."""
        return {host: why for host, why in self.silent.items() if host in hosts}

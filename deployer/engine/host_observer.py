"""What stands of a service as one drive sees it, and which machines give no answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from deployer.core.events import Tell
from deployer.drivers.ports import Running, Runtime, standing


@dataclass
class HostObserver:
    """Looks at the runtime; a machine that falls silent is told once, and once more when it is reachable again."""

    runtime: Runtime
    service: str
    tell: Tell
    silent: dict[str, str] = field(default_factory=dict)  # machines that gave no answer when they were asked last

    def standing(self) -> Running:
        """Read what is running, but on machines that are silent."""
        seen = standing(self.runtime, self.service)
        self.hear(seen.silent)
        return seen

    def hear(self, silent: Mapping[str, str]) -> None:
        """Tell which machines have fallen silent, and which answer again."""
        fallen = {host: why for host, why in silent.items() if host not in self.silent}
        back = [host for host in self.silent if host not in silent]
        self.silent = dict(silent)
        for host, why in fallen.items():
            self.tell("host.unreachable", host=host, text=f"{host or 'this host'} is unreachable: {why}")
        for host in back:
            self.tell("host.back", host=host, text=f"{host or 'this host'} is reachable again")

    def silent_of(self, hosts: Collection[str]) -> dict[str, str]:
        """Give those of some machines that are silent, and why."""
        return {host: why for host, why in self.silent.items() if host in hosts}

"""What the commands about hosts print: the inventory, whether hosts are ready, what a playbook did."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.data import Finding
from deployer.views.view import View


@dataclass(frozen=True)
class HostView(View):
    """A host of the inventory; `reached` is `USER@HOST:PORT`, or local."""

    name: str
    address: str
    reached: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class HostsView(View):
    """What an inventory has."""

    inventory: str
    hosts: tuple[HostView, ...]


@dataclass(frozen=True)
class CheckedHost(View):
    """What a host said of itself, after so many seconds; a `bad` finding makes it unfit."""

    name: str
    address: str
    groups: tuple[str, ...]
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def unfit(self) -> bool:
        """Return whether something must be done about it."""
        return any(finding.level == "bad" for finding in self.findings)


@dataclass(frozen=True)
class CheckView(View):
    """Whether the hosts of an inventory are fit."""

    inventory: str
    hosts: tuple[CheckedHost, ...]


@dataclass(frozen=True)
class PlayedHost(View):
    """How many tasks of a playbook ended how on a host."""

    name: str
    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0


@dataclass(frozen=True)
class PlayedView(View):
    """What a playbook did."""

    playbook: str
    hosts: tuple[PlayedHost, ...]

"""What the commands about hosts print: the inventory, whether hosts are ready, what a playbook did."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.data import Finding
from deployer.views.view import View


@dataclass(frozen=True)
class MachineView(View):
    """A machine of the inventory; `reached` is `USER@HOST:PORT`, or local."""

    name: str
    address: str
    reached: str
    groups: tuple[str, ...]


@dataclass(frozen=True)
class MachinesView(View):
    """What an inventory has."""

    inventory: str
    machines: tuple[MachineView, ...]


@dataclass(frozen=True)
class CheckedMachine(View):
    """What a machine said of itself, after so many seconds; a `bad` finding makes it unfit."""

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
    """Whether the machines of an inventory are fit."""

    inventory: str
    machines: tuple[CheckedMachine, ...]


@dataclass(frozen=True)
class PlayedMachine(View):
    """How many tasks of a playbook ended how on a machine."""

    name: str
    ok: int = 0
    changed: int = 0
    failed: int = 0
    unreachable: int = 0


@dataclass(frozen=True)
class PlayedView(View):
    """What a playbook did."""

    playbook: str
    machines: tuple[PlayedMachine, ...]

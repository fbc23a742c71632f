"""The way of users to a program: nobody else gets its address between two runs, and the proxy sends nobody there."""

from __future__ import annotations

import socket
from pathlib import Path

from deployer.emergency import endpoint
from deployer.emergency.proxy_client import MasterClient, Silent
from deployer.supervisor import port
from deployer.supervisor.proc import Process
from deployer.supervisor.spec import ProcessSpec

SOON, LATER = 0.05, 2.0  # seconds between two looks whether the program listens already


class UserGate:
    """Shut while the program does not run; opened when it listens itself. Without an address there is nothing to do."""

    def __init__(self, spec: ProcessSpec) -> None:
        self._spec = spec
        self._held: socket.socket | None = None
        self._shut = True  # as far as we know: who supervised before us may have died in between
        self._wait = SOON

    def shut(self) -> str:
        """Keep the address, and tell the proxy that nobody is there; return what is in the way, or nothing."""
        if not self._spec.address:
            return ""
        self._held = self._held or port.keep(self._spec.address)
        self._shut, self._wait = True, SOON
        self._tell("disable health {0}", "set server {0} health down")
        return "" if self._held else port.taken(self._spec.address)

    def hand_over(self) -> None:
        """Let go of the address: the program is about to run."""
        if self._held is not None:
            self._held.close()
            self._held = None

    def open(self, program: Process) -> None:
        """Let the proxy check again, once the program itself listens."""
        if self._shut and self._spec.address and port.listens(program, self._spec.address):
            self._shut = False
            self._tell("enable health {0}")

    def patience(self) -> float:
        """Return the seconds until it is worth another look."""
        if not (self._shut and self._spec.address):
            return LATER
        self._wait, wait = min(LATER, self._wait * 2), self._wait
        return wait

    def _tell(self, *commands: str) -> None:
        """Send it to every worker of the proxy; one that does not respond sends nobody, and checks when it begins."""
        where = Path(self._spec.card)
        known = endpoint.read(str(where.parent.parent), where.name) if self._spec.card else None
        if known is None:
            return
        try:
            master = MasterClient(known.socket)
            for worker in (w for workers in master.workers() for w in workers):
                for command in commands:
                    master.ask(f"@!{worker} {command.format(self._spec.server)}")
        except Silent:
            return

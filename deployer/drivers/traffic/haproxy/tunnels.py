"""What is open for longer than a request: WebSockets and other tunnels, and the sessions of a tcp service.

HAProxy says of each session what it waits for. One that passes bytes on in both directions and waits for nothing else
may be a tunnel, or a response of which the client still reads the end; the state of its messages tells them apart. A
response without a length that ends with its connection looks like a tunnel in one direction only.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed
from deployer.drivers.traffic.haproxy.master import Gone, MasterSocket, Worker

_ID = re.compile("0x[0-9a-f]{1,16}")
_FREE = re.compile(r" rq\[f=\S+,an=00h,\S* rp\[f=\S+,an=00h,")  # no rule looks at what passes, in either direction
_TUNNEL = "req.st=MSG_TUNNEL rsp.st=MSG_TUNNEL"
POLL = 0.02


@dataclass(frozen=True)
class Tunnels:
    """The tunnels of a backend, at every worker."""

    master: MasterSocket
    backend: str

    def close(self, part: float, deadline: Deadline) -> int:
        """Close this part of them, one at least at each worker that has some; return how many were closed.

        Raises DeadlinePassed when some are still open then.
        """
        closed = 0
        for worker in self.master.workers(deadline):
            try:
                closed += self._close(worker, part, deadline)
            except Gone:
                continue  # and with it what it had open
        return closed

    def _close(self, worker: Worker, part: float, deadline: Deadline) -> int:
        likely = self._likely(worker, deadline)
        wanted = math.ceil(len(likely) * part)
        closed: dict[str, str] = {}
        for session in likely:
            if len(closed) == wanted:
                break
            if deadline.passed():
                raise DeadlinePassed(
                    f"{len(closed)} of {wanted} open connections of {self.backend} closed in {deadline.seconds:g} s",
                    "repeat it to close the others",
                )
            # Asked just before: HAProxy uses the number of a session that has ended for another one.
            if who := self._tunnel(worker, session, deadline):
                self.master.run(worker, f"shutdown session {session}", deadline)
                closed[session] = who
        deadline.until(
            lambda: not self._left(worker, closed, deadline),
            f"the proxy closes connections of {self.backend}",
            every=POLL,
            hint="repeat it",
        )
        return len(closed)

    def _likely(self, worker: Worker, deadline: Deadline) -> list[str]:
        """List sessions on a server of the backend that may be tunnels."""
        lines = self.master.run(worker, "show sess", deadline).splitlines()
        mine = (line for line in lines if f" be={self.backend} " in line and " srv=<none> " not in line)
        return [found[0] for line in mine if _FREE.search(line) and (found := _ID.match(line))]

    def _tunnel(self, worker: Worker, session: str, deadline: Deadline) -> str:
        """Return what tells a session from any other one if it is a tunnel of the backend, else ""."""
        said = self.master.run(worker, f"show sess {session}", deadline)
        if f"  backend={self.backend} (" not in said:
            return ""
        mode = said.partition(f"  backend={self.backend} (")[2].partition(")")[0]
        return said.partition("\n")[0] if mode.endswith("mode=tcp") or _TUNNEL in said else ""

    def _left(self, worker: Worker, closed: dict[str, str], deadline: Deadline) -> bool:
        if not closed:
            return False
        still = (session for session in self._likely(worker, deadline) if session in closed)
        return any(self._tunnel(worker, session, deadline) == closed[session] for session in still)

"""The entries of one proxy, closed for maintenance: it takes no new connection, and what is open goes on."""

from __future__ import annotations

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.master import MasterSocket, Worker
from deployer.drivers.traffic.haproxy.shield import FRONTEND as INSIDE

OURS = "deployer_"
FRONTENDS, BACKENDS = 1, 2  # kinds of rows of `show stat`
POLL = 0.1


class Entries:
    """All frontends of deployer's that users reach, whatever the service."""

    def __init__(self, master: MasterSocket) -> None:
        self._master = master

    def close(self, deadline: Deadline) -> int:
        """Refuse new connections, and wait until no request is open; return how many are at the deadline.

        A port that refuses is what balancers and clients with several addresses go by. A start of the proxy opens all.
        """
        self._set("disable", "PAUSED", deadline)
        deadline.wait(lambda: not self._running(), every=POLL)
        return self._running()

    def open(self, deadline: Deadline) -> None:
        """Take new connections again."""
        self._set("enable", "OPEN", deadline)

    def _set(self, verb: str, wanted: str, deadline: Deadline) -> None:
        for worker in self._master.current(deadline):
            for name, status in self._frontends(worker, deadline).items():
                if status != wanted:
                    self._master.run(worker, f"{verb} frontend {name}", deadline)
            if other := [name for name, is_now in self._frontends(worker, deadline).items() if is_now != wanted]:
                raise DriverFailed(f"{', '.join(other)} is not {wanted.lower()} at worker {worker.pid}", "try again")

    def _frontends(self, worker: Worker, deadline: Deadline) -> dict[str, str]:
        rows = self._rows(worker, FRONTENDS, deadline)
        return {row[0]: row[17] for row in rows if row[0] != INSIDE}

    def _running(self) -> int:
        """Count the requests that are open, at every worker; idle connections are none."""
        return sum(int(row[4] or 0) for worker in self._master.workers() for row in self._rows(worker, BACKENDS))

    def _rows(self, worker: Worker, kind: int, deadline: Deadline | None = None) -> list[list[str]]:
        lines = self._master.run(worker, f"show stat -1 {kind} -1", deadline).splitlines()
        rows = (line.split(",") for line in lines if not line.startswith("#"))
        return [row for row in rows if len(row) > 17 and (kind == BACKENDS or row[0].startswith(OURS))]

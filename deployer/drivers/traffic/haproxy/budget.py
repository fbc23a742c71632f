"""What users saw of a candidate's failed responses: counted by every worker, kept in the live value beyond its life.

A worker compares its own count plus what its value says was spent before with the budget. A worker that comes later
(reload, restart) begins with an empty table and with the value of the file, in which the count read last stands.
"""

from __future__ import annotations

import re
import socket
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from deployer.core.background import BackgroundThread, every
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.master import ANSWER_WITHIN, Gone, MasterSocket, Worker, number

TABLE = "deployer-budget"
# What each address sent to the candidate and spent of the budget; the bound is that of the judge, see `addresses`.
ADDRESSES = "deployer-spenders"
_ENTRY = re.compile(r"\bkey=(\S+) .*\bgpc0=([0-9]{1,18})(?![0-9])")


def table() -> Iterator[str]:
    """Yield the lines of the table."""
    yield f"backend {TABLE} from deployer-http"
    # A service has one key for each rollout. One that is not touched for so long has no users.
    yield "  stick-table type string len 64 size 20k expire 20d store gpc0,gpc1"
    yield ""
    yield f"backend {ADDRESSES} from deployer-http"
    # An address that is forgotten may spend its part again: there is room for those of the last hours. The key is
    # that of the rollout and the address, 32 digits at most.
    yield "  stick-table type string len 104 size 100k expire 6h store gpc0,gpc1"


def key(service: str, rollout: int) -> str:
    """Return the key under which a rollout is counted: the next one begins at 0."""
    return f"{service}@{rollout}"


def count(master: MasterSocket, worker: Worker, service: str, rollout: int, deadline: Deadline) -> int:
    """Ask a worker what it counted since it began; 0 for an old one that has ended."""
    try:
        reply = master.run(worker, f"show table {TABLE} key {key(service, rollout)}", deadline)
    except Gone:
        if worker.old:
            return 0
        raise
    return number(r"\bgpc0=NUMBER", reply)


class Leaver:
    """Follows what a worker counts while a reload replaces it: it forgets its table when it stops to listen.

    It does not end while we may give it another command. What it counts between the last look and that moment is not
    seen: a millisecond, or as long as this process gets no processor.
    """

    def __init__(self, commands: Path) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(ANSWER_WITHIN)
        self._commands = commands
        self._last: Counter[str] = Counter()
        self._forgotten: Counter[str] = Counter()
        self._thread = BackgroundThread("budget of a worker that leaves", self._follow)

    def __enter__(self) -> Self:
        try:
            self._connection.connect(str(self._commands))
            self._connection.sendall(b"prompt\n")
            self._read()
            self._look()
        except OSError as error:
            self._connection.close()
            raise DriverFailed(f"{self._commands}: {error.strerror or error}", "is the proxy running?") from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._thread.__exit__(kind, error, trace)
        finally:
            self._connection.close()

    def since(self) -> Counter[str]:
        """Return by key what it counted since it began."""
        return self._last + self._forgotten

    def _follow(self, over: threading.Event) -> None:
        with suppress(OSError):  # it is gone, and what it counted is known
            every(0.001, self._look)(over)

    def _look(self) -> None:
        self._connection.sendall(f"show table {TABLE}\n".encode())
        now = Counter({found[1]: int(found[2]) for found in _ENTRY.finditer(self._read())})
        self._forgotten += Counter({k: n for k, n in self._last.items() if now[k] < n})
        self._last = now

    def _read(self) -> str:
        data = b""
        while not data.endswith(b"> "):
            chunk = self._connection.recv(65536)
            if not chunk:
                raise ConnectionResetError("closed")
            data += chunk
        return data.decode(errors="replace")


def total(workers: Iterable[tuple[int, int]]) -> int:
    """Add up what was spent before each worker began, and what it counted since.

    A worker begins with what its predecessor had counted by then, while that one may go on counting.
    """
    reached = 0
    for before, since in sorted(workers):
        reached = max(reached, before) + since
    return reached

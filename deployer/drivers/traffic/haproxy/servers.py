"""Servers at run time, on the workers of a proxy."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import naming
from deployer.drivers.traffic.haproxy.master import Gone, MasterSocket, Worker, number
from deployer.model import InstanceLoad, Load

_COUNTED = re.compile("[0-9]{1,18}")
BACKENDS, SERVERS = 2, 4  # of which `show stat` tells
_OF_ALL = ("scur", "stot", "rate", "qcur")  # of a backend: running now, all so far, in the last second, waiting
_FAILED = ("hrsp_5xx", "econ", "eresp")  # of a server: responses 5xx, connections, responses; the first one of http
# A stream as `show sess` tells it: its client, what became of its response and is still to be done with it, and the
# state of the server's connection.
_STREAM = re.compile(
    r" src=(?P<client>\S+):[0-9]+ .* be=(?P<backend>\S+) .* rp\[f=(?P<response>[0-9a-f]{1,8})h,[^]]*"
    r"\ban=(?P<analysers>[0-9a-f]{1,8})h.* scb=\[(?P<state>[0-9]{1,2}),"
)
_HEADERS, _ESTABLISHED = 0x00400000, 8
_WRITTEN = 0x00040000  # the client got a byte
MAINTENANCE, DRAINING = 0x01 | 0x02 | 0x04 | 0x20, 0x08 | 0x10  # bits of srv_admin_state


@dataclass(frozen=True)
class ServerView:
    """A server as one worker sees it."""

    name: str
    address: str
    status: str  # "UP", "UP 1/2", "DOWN", "DRAIN", "MAINT", …
    check: str  # "L7OK", "L4CON", "INI", …
    detail: str  # "Layer4 connection problem: Connection refused", "Layer7 wrong status: 503 …"
    running: int  # requests and connections on it now
    since: int  # seconds since it was last found up, or down
    waiting: int = 0  # requests that wait for this one, as their client keeps its instance
    limit: int = 0  # requests that it gets at once; 0: as many as come
    load: InstanceLoad = field(default_factory=InstanceLoad)

    @property
    def up(self) -> bool:
        """Return whether it gets requests."""
        return self.status.startswith("UP") or self.status == "no check"

    @property
    def checked(self) -> bool:
        """Return whether a check has come to an end; before that, `up` is only a hope."""
        return self.check not in ("", "INI")

    @property
    def passed(self) -> bool:
        """Return whether it passed as many checks as it needs; a new one says UP 1/2 before its first."""
        return self.status in ("UP", "DRAIN") and self.check.endswith(("OK", "OKC", "OKD"))

    @property
    def tells(self) -> bool:
        """Return whether it is known what the last check saw, and not only how it ended."""
        return not self.detail.rstrip().endswith((":", "status: 0"))

    @property
    def last(self) -> str:
        """Return what the last check saw."""
        return self.detail if self.checked else "not checked yet"


class Servers:
    """Commands on the servers of backends."""

    def __init__(self, master: MasterSocket) -> None:
        self._master = master

    def seen(self, worker: Worker, backend: str, deadline: Deadline) -> dict[str, ServerView]:
        """Read the servers of a backend; empty for a backend that the worker does not know."""
        return self.crowd(worker, backend, deadline)[0]

    def served(self, worker: Worker, backend: str, deadline: Deadline) -> tuple[int, int]:
        """Count the requests that a backend got since the worker began, and in the last second."""
        _, whole = self._read(worker, backend, BACKENDS, deadline)
        return (_count(whole, "stot"), _count(whole, "rate")) if whole else (0, 0)

    def served_by_all(self, worker: Worker, deadline: Deadline) -> dict[str, int]:
        """Count the requests that each backend got since the worker began."""
        rows = self._rows(worker, f"-1 {BACKENDS} -1", deadline)
        return {row["pxname"]: _count(row, "stot") for row in rows if row.get("svname") == "BACKEND"}

    def uptime(self, worker: Worker, deadline: Deadline) -> int:
        """Read for how many whole seconds a worker has served."""
        return number("^Uptime_sec: NUMBER", self._master.run(worker, "show info", deadline))

    def crowd(self, worker: Worker, backend: str, deadline: Deadline) -> tuple[dict[str, ServerView], int]:
        """Read the servers of a backend, and how many requests it has that are on none of them."""
        seen, whole = self._read(worker, backend, BACKENDS | SERVERS, deadline)
        return seen, _count(whole, "scur") - sum(s.running for s in seen.values()) if whole else 0

    def _read(
        self, worker: Worker, backend: str, kinds: int, deadline: Deadline
    ) -> tuple[dict[str, ServerView], Mapping[str, str] | None]:
        """Read the servers of a backend, and its own row."""
        rows = self._rows(worker, f"{backend} {kinds} -1", deadline)
        try:
            known = {row["svname"]: row for row in rows if row.get("svname") not in ("", None, *naming.NO_INSTANCES)}
            whole = known.pop("BACKEND", None)
            for field in _OF_ALL if whole else ():
                _count(whole or {}, field)
            return {name: _seen(row) for name, row in known.items()}, whole
        except (csv.Error, KeyError, ValueError) as error:
            raise DriverFailed(
                f"{self._master.path}: the servers of {backend} cannot be read: {error!r}",
                "is that HAProxy 2.8 or newer?",
            ) from None

    def _rows(self, worker: Worker, of: str, deadline: Deadline) -> csv.DictReader[str]:
        reply = self._master.run(worker, f"show stat {of}", deadline)
        # What a check saw is repeated there, and an instance may answer a check with anything.
        return csv.DictReader(reply.lstrip("# ").replace("\r", " ").split("\n"), restval="")

    def waiting(self, worker: Worker, deadline: Deadline) -> dict[str, list[str]]:
        """Return the clients of what waits for a server, a connection or a response, by backend.

        Not of requests that have their headers, nor of tcp sessions that have a byte: a client knows then which release
        answers, and may hold what it likes open.
        """
        lines = self._master.run(worker, "show sess", deadline).splitlines()
        found = (_STREAM.search(line) for line in lines if " be=<NONE> " not in line)
        waits: dict[str, list[str]] = {}
        for stream in found:
            if stream and _waits(stream):
                waits.setdefault(stream["backend"], []).append(stream["client"])
        return waits

    def load(self, worker: Worker, backend: str, deadline: Deadline) -> Load:
        """Count what a backend has open now; nothing where the worker does not know it, or has ended."""
        try:
            seen, whole = self._read(worker, backend, BACKENDS | SERVERS, deadline)
        except Gone:
            return Load()
        if whole is None:
            return Load()
        return Load(
            open=_count(whole, "scur"),
            running=sum(server.running for server in seen.values()),
            waiting=_count(whole, "qcur") + sum(server.waiting for server in seen.values()),
            total=_count(whole, "stot"),
            wakers=_count(whole, "stot"),
            instances={name: server.load for name, server in seen.items()},
        )

    def last(self, worker: Worker, backend: str, deadline: Deadline) -> int:
        """Return the time of the last request of a backend that wakes its service; 0 where none came to the worker."""
        try:
            return number(
                "value=<NUMBER", self._master.run(worker, f"get var {naming.last_request(backend)}", deadline)
            )
        except Gone:
            return 0

    def admin(self, worker: Worker, backend: str, deadline: Deadline) -> dict[str, int]:
        """Read what was asked of each server: bits of MAINTENANCE and DRAINING."""
        reply = self._master.run(worker, f"show servers state {backend}", deadline)
        lines = [line.split() for line in reply.splitlines()]
        return {f[3]: int(f[6]) for f in lines if len(f) > 7 and f[0].isdigit() and _COUNTED.fullmatch(f[6])}

    def introduce(
        self, worker: Worker, backend: str, name: str, address: str, options: str, deadline: Deadline
    ) -> None:
        """Make a worker know a server and check it, without giving it a request.

        A new server counts as up before its first check; only `drain` keeps it out until then.
        """
        self._command(worker, f"add server {backend}/{name} {address} {options}", deadline)
        self.check(worker, backend, name, deadline)

    def check(self, worker: Worker, backend: str, name: str, deadline: Deadline) -> None:
        """Have a server in maintenance checked again, still without a request."""
        self._command(worker, f"enable health {backend}/{name}", deadline)
        self.state(worker, backend, name, "drain", deadline)

    def state(self, worker: Worker, backend: str, name: str, state: str, deadline: Deadline) -> None:
        """Ask for `ready`, `drain` or `maint`."""
        self._command(worker, f"set server {backend}/{name} state {state}", deadline)

    def rouse(self, worker: Worker, backend: str, name: str, deadline: Deadline) -> None:
        """Send requests to a server in maintenance at once: somebody has seen that it answers.

        Its supervisor may have said that it is down while it was started, so that says that it is up again.
        """
        self._command(worker, f"set server {backend}/{name} health up", deadline)
        self.state(worker, backend, name, "ready", deadline)
        self._command(worker, f"enable health {backend}/{name}", deadline)

    def limit(self, worker: Worker, backend: str, name: str, requests: int, deadline: Deadline) -> None:
        """Limit a server to a number of requests at once, and send it some of those that wait.

        One that leaves `drain` would take these only after a request of its own.
        """
        self._command(worker, f"set maxconn server {backend}/{name} {requests}", deadline)

    def cut(self, worker: Worker, backend: str, name: str, deadline: Deadline) -> None:
        """End what still runs on a server."""
        if not worker.old:
            self._command(worker, f"shutdown sessions server {backend}/{name}", deadline)
            return
        # An old worker takes no commands about servers any more, but it ends single sessions.
        for line in self._master.run(worker, "show sess", deadline).splitlines():
            if f" be={backend} " in line and f" srv={name} " in line:
                self._command(worker, f"shutdown session {line.split(':')[0]}", deadline)

    def idle(self, worker: Worker, deadline: Deadline) -> int:
        """Count connections of clients that wait between two requests."""
        info = self._master.run(worker, "show info", deadline)
        busy = self._master.run(worker, "show sess", deadline).count(" fe=deployer_")
        return max(0, number("^CurrConns: NUMBER", info) - busy)

    def delete(self, worker: Worker, backend: str, name: str, deadline: Deadline) -> str:
        """Make a worker forget a server that is in maintenance; return its answer, it may still have connections."""
        return self._master.run(worker, f"del server {backend}/{name}", deadline).strip()

    def _command(self, worker: Worker, command: str, deadline: Deadline) -> None:
        # Answers are text for people; what became of the command is read back by whoever gave it.
        self._master.run(worker, command, deadline)


def _waits(stream: re.Match[str]) -> bool:
    analysers = int(stream["analysers"], 16)
    if int(stream["state"]) < _ESTABLISHED or analysers & _HEADERS:
        return True
    # Nothing is to be done with it: a tcp session, or what an HTTP request became after its headers.
    return not analysers and not int(stream["response"], 16) & _WRITTEN


def _count(row: Mapping[str, str], field: str) -> int:
    if not _COUNTED.fullmatch(row[field]):
        raise ValueError(f"{field} is {row[field]!r}")
    return int(row[field])


def _seen(row: Mapping[str, str]) -> ServerView:
    return ServerView(
        row["svname"],
        row["addr"],
        row["status"],
        row["check_status"].removeprefix("* "),
        f"{row['check_desc']}: {row['check_code']} {row['last_chk']}".replace(":  ", ": "),
        _count(row, "scur"),
        _count(row, "lastchg"),
        _count(row, "qcur"),
        _count(row, "slim") if row["slim"] else 0,
        InstanceLoad(_count(row, "scur"), _count(row, "stot"), sum(int(row[kind] or 0) for kind in _FAILED)),
    )

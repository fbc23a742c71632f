"""The requests of a service as they are answered, from the ring of every worker."""

from __future__ import annotations

import re
import selectors
import socket
import threading
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from deployer.clock import Clock, Deadline
from deployer.drivers.traffic.haproxy.frontend import RING
from deployer.drivers.traffic.haproxy.master import Gone, Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.errors import DriverFailed
from deployer.model import LATENCY_BOUNDS, Counts, Sample

LOOK_EVERY = 0.1  # seconds between two looks for workers that came or went
OPEN_WITHIN = 2.0  # seconds for a worker to answer the first command
_PID = re.compile(rb"^Pid: (\d+)", re.MULTILINE)
_DROPPED = re.compile(rb"(\d+) events? (?:was |were )?dropped")


@dataclass
class Side:
    """One side's numbers, while they grow."""

    requests: int = 0
    errors: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * len(LATENCY_BOUNDS))

    def add(self, failed: bool, ms: float | None) -> None:
        """Count one request. Only good answers are timed: a fast 500 makes nothing faster."""
        self.requests += 1
        if failed:
            self.errors += 1
        elif ms is not None:
            self.latency[min(bisect_left(LATENCY_BOUNDS, ms), len(LATENCY_BOUNDS) - 1)] += 1

    def counts(self) -> Counts:
        """Give the numbers."""
        return Counts(self.requests, self.errors, tuple(self.latency))


class Tally:
    """Counts lines of one service; memory does not grow with them."""

    def __init__(self, service: str) -> None:
        self._service = service.encode()
        self._lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._stable, self._candidate, self._lost = Side(), Side(), 0

    def feed(self, lines: list[bytes]) -> None:
        """Count lines as the proxy wrote them; see `frontend.HTTP_LINE` for what they say."""
        with self._lock:
            for line in lines:
                self._count(line)

    def take(self, share: int) -> Sample:
        """Give what was counted since the last call."""
        with self._lock:
            sample = Sample(self._stable.counts(), self._candidate.counts(), share, self._lost)
            self._reset()
        return sample

    def _count(self, line: bytes) -> None:
        parts = line.split()
        if len(parts) != 9:
            if dropped := _DROPPED.search(line):
                self._lost += int(dropped[1])
            return
        service, drawn, stable, _, source, status, end, _, duration = parts
        if service != self._service or source != b"split" or drawn == b"-":
            return
        seen = outcome(status, end)
        if seen is not None:
            side = self._stable if drawn == stable else self._candidate
            side.add(seen, _milliseconds(status, duration))


def outcome(status: bytes, end: bytes) -> bool | None:
    """Tell whether the release failed the request; None for one that says nothing about it.

    `end` is HAProxy's termination state: who ended it (C and c the client, S and s the server, L the proxy itself,
    - nobody) and when (R request, Q queue, C connect, H headers, D data).
    """
    who, when = end[:1], end[1:2]
    if who == b"L" or when == b"R":
        return None  # a redirect or a refusal by the proxy: no instance was asked
    if status == b"tcp":
        return None if who in b"Cc" and when != b"D" else when == b"C"
    code = int(status)
    if who in b"Cc" and when != b"D":
        return None  # the client left before there was an answer
    cut = who in b"Ss" and when == b"D" and code != 101
    return code >= 500 or code < 100 or cut


def _milliseconds(status: bytes, duration: bytes) -> float | None:
    try:
        number = int(duration)
    except ValueError:
        return None
    if number < 0:
        return None
    return float(number) if status == b"tcp" else number / 1000


class Line:
    """The connection to one worker's ring."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    @classmethod
    def open(cls, path: Path, worker: Worker, *, past: bool) -> Line | None:
        """Connect; with `past` also to what the ring holds already. None when another worker listens there by now."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(OPEN_WITHIN)
            connection.connect(str(path))
            # Commands of one line are carried out in order: once the first has answered, the second is next.
            connection.sendall(f"show info; show events {RING} -w{'' if past else ' -n'}\n".encode())
            line = cls(connection)
            head = line._head()
            connection.setblocking(False)
        except OSError:
            connection.close()
            raise
        if _pid(head) != worker.pid:
            connection.close()
            return None
        return line

    def _head(self) -> bytes:
        """Read what `show info` says, up to its empty line; what follows belongs to the ring."""
        data = b""
        while b"\n\n" not in data:
            chunk = self.connection.recv(1 << 16)
            if not chunk:
                raise ConnectionResetError("closed")
            data += chunk
        head, _, self._rest = data.partition(b"\n\n")
        return head

    def begun(self) -> list[bytes]:
        """Give the lines that came together with the first answer."""
        *lines, self._rest = self._rest.split(b"\n")
        return lines

    def read(self) -> list[bytes] | None:
        """Give the lines that have come; None at the end."""
        try:
            data = self.connection.recv(1 << 20)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return lines


def _pid(head: bytes) -> int:
    match = _PID.search(head)
    return int(match[1]) if match else 0


class Stream:
    """Reads the rings in a thread, one connection for each worker, across reloads and restarts."""

    def __init__(self, service: str, proxy: Proxy, clock: Clock, share: Callable[[], int]) -> None:
        self._master = proxy.master
        self._path = proxy.home.requests
        self._clock = clock
        self._share = share
        self._tally = Tally(service)
        self._lines: dict[int, Line] = {}
        self._finished: set[int] = set()  # workers that have nobody left to serve, or that cannot be reached
        self._selector = selectors.DefaultSelector()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"requests of {service}", daemon=True)

    def __enter__(self) -> Self:
        try:
            for worker in self._master.workers():
                if worker.old:  # it gave up its socket, and is about to end
                    self._finished.add(worker.pid)
                else:
                    # What the ring holds already is from before this stream.
                    self._follow(worker, past=False)
        except OSError as error:
            self._close()
            raise DriverFailed(f"{self._path}: the request stream: {error}", "is the proxy running?") from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()
        self._close()

    def take(self) -> Sample:
        """Give what was answered since the last call; never waits."""
        return self._tally.take(self._share())

    def _run(self) -> None:
        next_look = 0.0
        while not self._end.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                self._receive(key.data)
            if self._clock.monotonic() >= next_look:
                self._look()
                next_look = self._clock.monotonic() + LOOK_EVERY

    def _look(self) -> None:
        """Follow the workers: a new one is read from its first line, one without users is let go."""
        try:
            workers = self._master.workers(Deadline.after(self._clock, LOOK_EVERY))
            for worker in workers:
                if worker.pid in self._lines:
                    if worker.old and self._idle(worker):
                        self._release(worker)
                elif worker.pid not in self._finished and not worker.old:
                    self._follow(worker, past=True)
            self._finished &= {w.pid for w in workers}
        except (DriverFailed, OSError):
            return  # the proxy is being restarted; the next look finds it

    def _follow(self, worker: Worker, *, past: bool) -> None:
        line = Line.open(self._path, worker, past=past)
        if line is not None:
            self._lines[worker.pid] = line
            self._tally.feed(line.begun())
            self._selector.register(line.connection, selectors.EVENT_READ, worker.pid)

    def _release(self, worker: Worker) -> None:
        """Let an old worker end: our connection alone would keep it."""
        while worker.pid in self._lines and self._receive(worker.pid):
            pass
        if worker.pid in self._lines:
            self._drop(worker.pid)
        self._finished.add(worker.pid)

    def _idle(self, worker: Worker) -> bool:
        try:
            reply = self._master.run(worker, "show info")
        except Gone:
            return True
        match = re.search(r"^CurrConns: (\d+)", reply, re.MULTILINE)
        return match is not None and int(match[1]) == 0

    def _receive(self, pid: int) -> bool:
        """Count what has come; tell whether there was something."""
        lines = self._lines[pid].read()
        if lines is None:
            self._drop(pid)
        else:
            self._tally.feed(lines)
        return bool(lines)

    def _drop(self, pid: int) -> None:
        line = self._lines.pop(pid)
        self._selector.unregister(line.connection)
        line.connection.close()

    def _close(self) -> None:
        for pid in list(self._lines):
            self._drop(pid)
        self._selector.close()

"""The requests of a service as they are answered, from the ring of every worker."""

from __future__ import annotations

import operator
import re
import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from deployer.core.background import BackgroundThread
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy.frontend import RING
from deployer.drivers.traffic.haproxy.master import Gone, Worker
from deployer.drivers.traffic.haproxy.proxy import Proxy
from deployer.drivers.traffic.haproxy.request_counter import RequestCounter
from deployer.drivers.traffic.haproxy.routing_rules import LINES
from deployer.model import Sample, Waiting

COUNT_EVERY = 1.0  # seconds between two counts of what is in flight
LOOK_EVERY = 0.1  # seconds between two looks for workers that came or went
LINES_FOR, LINES_AGAIN = (
    60,
    20.0,
)  # seconds for which a worker is to write lines about calm services, and until the next
OPEN_WITHIN = 2.0  # seconds for a worker to answer the first command
_PID = re.compile(rb"^Pid: ([0-9]{1,10})\s", re.MULTILINE)


class RingConnection:
    """The connection to one worker's ring."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self._rest = b""

    @classmethod
    def open(cls, path: Path, worker: Worker, *, past: bool) -> RingConnection | None:
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
        """Return the lines that came together with the first answer."""
        *lines, self._rest = self._rest.split(b"\n")
        return lines

    def read(self) -> list[bytes] | None:
        """Return the lines that have come; None at the end."""
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


class Feed(Protocol):
    """Where the lines of requests go."""

    def feed(self, lines: Sequence[bytes]) -> None:
        """Take lines that have come."""
        ...

    def miss(self, lines: int) -> None:
        """Know that so many could not be got."""
        ...


class Requests(Protocol):
    """The requests that one proxy answers, while they are told."""

    def check(self) -> None:
        """Raise DriverFailed when nothing is told any more."""
        ...

    def share(self) -> int:
        """Return the share in force."""
        ...

    def waiting(self) -> Waiting | None:
        """Return what was in flight when the proxy was asked since the last call, if it was."""
        ...


class Counted:
    """The requests of one proxy, or of several that count together: a client that keeps its side is one at all."""

    def __init__(self, tally: RequestCounter, streams: Sequence[Requests]) -> None:
        self._tally, self._streams = tally, streams

    def take(self) -> Sample:
        """Return what was answered since the last call; the share is the smallest that is in force; never waits."""
        for stream in self._streams:
            stream.check()
        sample = self._tally.take(min(stream.share() for stream in self._streams))
        read = [waiting for stream in self._streams if (waiting := stream.waiting())]
        return replace(sample, waiting=reduce(operator.add, read)) if read else sample


@contextmanager
def counted(tally: RequestCounter, streams: Sequence[AbstractContextManager[Requests]]) -> Iterator[Counted]:
    """Open streams that feed one tally, and count what they tell together."""
    with ExitStack() as stack:
        yield Counted(tally, [stack.enter_context(stream) for stream in streams])


class RequestStream:
    """Reads the rings in a thread, one connection for each worker, across reloads and restarts."""

    def __init__(
        self,
        service: str,
        proxy: Proxy,
        clock: Clock,
        share: Callable[[], int],
        feed: Feed,
        waiting: Callable[[], Waiting | None] = lambda: None,
    ) -> None:
        self._master = proxy.master
        self._path = proxy.home.requests
        self._clock = clock
        self._count = waiting
        self._waiting: Waiting | None = None
        self._share = share
        self._feed = feed
        self._lines: dict[int, RingConnection] = {}
        self._wanted: dict[int, float] = {}  # when a worker was last told that its lines are read
        self._met: set[int] = set()  # workers that were read: what their ring holds was told
        self._finished: set[int] = set()  # workers that have nobody left to serve, or that cannot be reached
        self._selector = selectors.DefaultSelector()
        self._thread = BackgroundThread(f"requests of {service}", self._read)

    def __enter__(self) -> Self:
        try:
            for worker in self._master.workers():
                if worker.old:  # it gave up its socket, and is about to end
                    self._finished.add(worker.pid)
                else:
                    # What the ring holds already is from before this stream.
                    self._follow(worker, past=False)
        except DriverFailed:
            self._close()
            raise
        except OSError as error:
            self._close()
            raise DriverFailed(f"{self._path}: the request stream: {error}", "is the proxy running?") from None
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.stop()
        self._close()

    def check(self) -> None:
        """Raise DriverFailed when nobody reads any more."""
        if error := self._thread.error:
            raise DriverFailed(f"{self._path}: reading requests ended: {error!r}", "please report this")

    def share(self) -> int:
        """Return the share in force."""
        return self._share()

    def waiting(self) -> Waiting | None:
        """Return what was in flight when the proxy was asked since the last call, if it was."""
        last, self._waiting = self._waiting, None
        return last

    def _read(self, over: threading.Event) -> None:
        next_look = next_count = 0.0
        while not over.is_set():
            for key, _ in self._selector.select(timeout=0.05):
                self._receive(key.data)
            if self._clock.monotonic() >= next_look:
                self._look()
                next_look = self._clock.monotonic() + LOOK_EVERY
            if self._clock.monotonic() >= next_count:
                with suppress(DriverFailed, DeadlinePassed, OSError):  # the next count is as good
                    self._waiting = self._count()
                next_count = self._clock.monotonic() + COUNT_EVERY

    def _look(self) -> None:
        """Follow the workers: a new one is read from its first line, one without users is let go."""
        try:
            workers = self._master.workers(Deadline.after(self._clock, LOOK_EVERY))
            for worker in workers:
                if worker.pid in self._lines:
                    if worker.old and not self._master.connections(worker):
                        self._release(worker)
                elif worker.pid not in self._finished and not worker.old:
                    self._follow(worker, past=True)
                if worker.pid in self._lines:
                    self._want(worker)
            alive = {w.pid for w in workers}
            self._finished, self._met = self._finished & alive, self._met & alive
        except (DriverFailed, OSError):
            return  # the proxy is being restarted; the next look finds it

    def _follow(self, worker: Worker, *, past: bool) -> None:
        again = worker.pid in self._met  # the proxy lets go who does not read; what came meanwhile is not told
        line = RingConnection.open(self._path, worker, past=past and not again)
        if line is None:
            return
        if again:
            self._feed.miss(1)  # at least
        self._met.add(worker.pid)
        self._want(worker)
        self._lines[worker.pid] = line
        self._feed.feed(line.begun())
        self._selector.register(line.connection, selectors.EVENT_READ, worker.pid)

    def _want(self, worker: Worker) -> None:
        """Have a worker write lines about calm services too, for a while: whoever reads them may be killed."""
        now = self._clock.monotonic()
        if now - self._wanted.get(worker.pid, -LINES_AGAIN) < LINES_AGAIN:
            return
        try:
            self._master.set_variable(worker, LINES, int(self._clock.now()) + LINES_FOR)
        except Gone:
            return
        self._wanted[worker.pid] = now

    def _release(self, worker: Worker) -> None:
        """Let an old worker end: our connection alone would keep it."""
        while worker.pid in self._lines and self._receive(worker.pid):
            pass
        if worker.pid in self._lines:
            self._drop(worker.pid)
        self._finished.add(worker.pid)

    def _receive(self, pid: int) -> bool:
        """Count what has come; return whether there was something."""
        lines = self._lines[pid].read()
        if lines is None:
            self._drop(pid)
        else:
            self._feed.feed(lines)
        return bool(lines)

    def _drop(self, pid: int) -> None:
        line = self._lines.pop(pid)
        self._selector.unregister(line.connection)
        line.connection.close()

    def _close(self) -> None:
        for pid in list(self._lines):
            self._drop(pid)
        self._selector.close()

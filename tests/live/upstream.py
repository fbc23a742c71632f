"""Upstreams that tests put behind the proxy: small servers on a port of their own, in a thread of their own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from tests.ports import free_port


class Upstream:
    """An HTTP/1.1 server that answers with its name, as a page of HTML.

    `/` and every other path: 200 and the name. `/typed?type=T&cache=C`: the same as another type, with a
    Cache-Control. `/slow?ms=N`: the same after N ms. `/held`: the same after `let_go`. `/status/N`: status N.
    `/empty`: 200 and nothing. `/half`: the headers and all of the body but its last byte.
    `/headers`: the request's headers as JSON. `/up` is what health checks ask: `ill` makes it answer 503.
    """

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.port = port or free_port()  # also when it listens there again: the kernel gives others to clients
        self.hits: Counter[str] = Counter()  # by path
        self.begun = threading.Event()  # a /slow or /held request has begun
        self.ill = False
        self.failing = False  # every answer but /up is a 500
        self.fails_every = 0  # with n: every n-th answer but /up is a 500
        self.hangs = False  # no answer but to /up
        self.answered = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event
        self._error: BaseException | None = None
        self._connections: set[asyncio.Transport] = set()
        self.held: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name=f"upstream {name}", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(60), f"{self.name} has not begun"
        if self._error:
            raise self._error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the port and every connection, at once."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(10)

    def let_go(self) -> None:
        """Answer what is held."""
        for answer in self.held:
            self._loop.call_soon_threadsafe(answer)

    def fails(self) -> bool:
        """Return whether the answer that is made now is to be a bad one."""
        self.answered += 1
        return self.failing or (self.fails_every > 0 and self.answered % self.fails_every == 0)

    @property
    def users(self) -> int:
        """Requests that were no health checks."""
        return sum(count for path, count in self.hits.items() if path != "/up")

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:  # noqa: BLE001 -- handed to the thread that waits for the start
            self._error = error
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await self._loop.create_server(lambda: self.protocol(), "127.0.0.1", self.port, backlog=1024)
        self._ready.set()
        await self._stop.wait()
        # A connection that was just accepted has a task until its transport is known; a server that is closed meanwhile
        # forgets it, open as it is.
        for listening in server.sockets:
            self._loop.remove_reader(listening.fileno())
        coming = asyncio.all_tasks() - {asyncio.current_task()}
        if coming:
            await asyncio.wait(coming, timeout=5)
        server.close()
        while self._connections:
            for transport in list(self._connections):
                transport.abort()
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # the last ones close their sockets

    def protocol(self) -> asyncio.Protocol:
        return Http(self, self._connections)


class Http(asyncio.Protocol):
    """Requests without a body, also several in one segment; answers keep their order."""

    def __init__(self, upstream: Upstream, connections: set[asyncio.Transport]) -> None:
        self.upstream = upstream
        self._connections = connections
        self._buffer = b""
        self._busy = False
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._next()

    def _next(self) -> None:
        out = []
        while not self._busy and b"\r\n\r\n" in self._buffer:
            head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
            length = _length(head)
            if length and len(self._buffer) < length:
                self._buffer = head + b"\r\n\r\n" + self._buffer
                break
            self._buffer = self._buffer[length:]
            target = head.split(b" ", 2)[1].decode()
            url = urlsplit(target)
            self.upstream.hits[url.path] += 1
            if url.path == "/slow":
                self._busy = True
                self.upstream.begun.set()
                delay = int(parse_qs(url.query)["ms"][0]) / 1000
                asyncio.get_running_loop().call_later(delay, self._later, head, url.path)
            elif url.path == "/held":
                self._busy = True
                self.upstream.held.append(partial(self._later, head, url.path))
                self.upstream.begun.set()
            elif self.upstream.hangs and url.path != "/up":
                self._busy = True
            else:
                out.append(self.answer(head, url.path, url.query))
        if out:
            self._transport.write(b"".join(out))

    def _later(self, head: bytes, path: str) -> None:
        self._busy = False
        if not self._transport.is_closing():
            self._transport.write(self.answer(head, path))
            self._next()

    def answer(self, head: bytes, path: str, query: str = "") -> bytes:
        status, body = 200, self.upstream.name.encode()
        asked = dict(parse_qsl(query)) if path == "/typed" else {}
        about = f"content-type: {asked.get('type', 'text/html; charset=utf-8')}\r\n"
        if "cache" in asked:
            about += f"cache-control: {asked['cache']}\r\n"
        if path == "/headers":
            pairs = (line.split(":", 1) for line in head.decode().split("\r\n")[1:])
            body = json.dumps({k.lower(): v.strip() for k, v in pairs}).encode()
        elif path == "/up":
            status = 503 if self.upstream.ill else 200
        elif path.startswith("/status/"):
            status = int(path.removeprefix("/status/"))
        elif self.upstream.fails():
            status = 500
        if path == "/half":
            self._busy = True
        if path == "/empty":
            body = b""
        return b"HTTP/1.1 %d X\r\n%scontent-length: %d\r\nx-who: %s\r\n\r\n%s" % (
            status,
            about.encode(),
            len(body) + (path == "/half"),
            self.upstream.name.encode(),
            body,
        )


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return int(line.split(b":")[1])
    return 0


class TcpUpstream(Upstream):
    """A plain TCP server: says its name, then echoes; with `hangs` it accepts and says nothing."""

    def protocol(self) -> asyncio.Protocol:
        return _Echo(self, self._connections)


class _Echo(asyncio.Protocol):
    def __init__(self, upstream: Upstream, connections: set[asyncio.Transport]) -> None:
        self.upstream = upstream
        self._connections = connections
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)
        self.upstream.hits["connection"] += 1
        if not self.upstream.hangs:
            transport.write(self.upstream.name.encode() + b"\n")

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        if not self.upstream.hangs:
            self._transport.write(data)

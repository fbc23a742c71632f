"""A small server that fails exactly as told and counts what it did: to test the load generator with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import socket
import ssl
import struct
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import parse_qs, urlsplit

from tests.load.websocket import GUID
from tests.load.wire import CLOSE_WITHIN

Fault = Literal["reset", "eof", "half", "500", "hang", "garbage", "other echo", "cut", "close", "mute"]
HANG = 60.0  # seconds


class _Drop(Exception):
    """Ends a connection from inside its handler."""


@dataclass
class Faulty:
    """Serve on a free port of the loopback, in a thread.

    Every `every`-th request to `path` meets `fault`; of a WebSocket (path /ws) every `every`-th message does. Faults:
    reset (RST without an answer), eof (closed without a response), half (closed in the body), 500, hang (no answer),
    garbage (not HTTP), other echo (a changed body); for WebSockets cut (no close frame), close (1001), mute (no echo).
    """

    fault: Fault | None = None
    every: int = 1
    path: str = "/"
    version: str = "1"
    tls: ssl.SSLContext | None = None
    idle: float = HANG  # seconds after which an idle keep-alive connection is closed
    seen: Counter[str] = field(default_factory=Counter)  # requests and messages by path
    faults: int = 0
    cookies: set[str] = field(default_factory=set)  # that clients brought back
    url: str = ""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        if not ready.wait(20):
            raise TimeoutError("the faulty server did not start within 5 s")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    @property
    def requests(self) -> int:
        """All requests and messages that came in."""
        return self.seen.total()

    def _run(self, ready: threading.Event) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self.tls)
        self.url = f"{'https' if self.tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        ready.set()
        await self._stop.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connection(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            idle = HANG  # a new connection is none that idles: its first request may be late
            while await self._request(reader, writer, idle):
                idle = self.idle
        except (_Drop, OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went, or the fault was to go
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CLOSE_WITHIN):
                    await writer.wait_closed()

    def _due(self, path: str) -> Fault | None:
        self.seen[path] += 1
        if self.fault is None or path != self.path or self.seen[path] % self.every:
            return None
        self.faults += 1
        return self.fault

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: float) -> bool:
        async with asyncio.timeout(idle):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.split("\r\n")[:-2]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        url = urlsplit(first.split(" ")[1])
        if "cookie" in headers:
            self.cookies.add(headers["cookie"])
        if url.path == "/ws":
            await self._websocket(reader, writer, headers)
            return False
        keep = headers.get("connection") != "close"
        if milliseconds := parse_qs(url.query).get("ms"):
            await asyncio.sleep(int(milliseconds[0]) / 1000)
        await self._answer(writer, self._due(url.path), body or b"hello\n", keep)
        return keep

    async def _answer(self, writer: asyncio.StreamWriter, fault: Fault | None, body: bytes, keep: bool) -> None:
        match fault:
            case "reset":
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
                raise _Drop
            case "eof":
                raise _Drop
            case "hang":
                await asyncio.sleep(HANG)
            case "garbage":
                writer.write(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")
                raise _Drop
            case "other echo":
                body = body[::-1]
        status = "500 Internal Server Error" if fault == "500" else "200 OK"
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", f"X-Version: {self.version}"]
        head += ["Set-Cookie: roll=17; Path=/; HttpOnly"] + ([] if keep else ["Connection: close"])
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode() + body[: len(body) // 2 if fault == "half" else None])
        await writer.drain()
        if fault == "half":
            raise _Drop

    async def _websocket(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, headers: dict[str, str]
    ) -> None:
        proof = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()).decode()
        writer.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {proof}\r\nX-Version: {self.version}\r\n\r\n".encode()
        )
        self.seen["/ws handshake"] += 1
        while True:
            first, second = await reader.readexactly(2)
            mask, text = await reader.readexactly(4), await reader.readexactly(second & 0x7F)  # short messages only
            if first & 0x0F == 0x8:
                return
            match self._due("/ws"):
                case "cut":
                    return
                case "close":
                    writer.write(b"\x88\x02" + struct.pack("!H", 1001))
                    return
                case "mute":
                    continue
            writer.write(bytes([first, len(text)]) + bytes(b ^ mask[i % 4] for i, b in enumerate(text)))

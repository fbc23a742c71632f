"""The test app in Python, standard library only: same URLs, environment and commands as app.c, which explains them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import os
import random
import signal
import socket
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

MAX_REQUEST = 1 << 20
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
REASONS = {200: "OK", 400: "Bad Request", 411: "Length Required", 413: "Content Too Large", 503: "Service Unavailable"}


def setting(name: str, fallback: str) -> str:
    return os.environ.get(name) or fallback


class App:
    """What all connections share."""

    def __init__(self) -> None:
        self.version = setting("VERSION", "0")
        self.hostname = socket.gethostname()
        self.behaviour = {
            key: float(setting(key.upper(), fallback))
            for key, fallback in {"err": "0", "lat": "0", "jit": "0", "health": "1", "drain": "0"}.items()
        }
        self.faults = Faults()
        self.requests = self.errors = self.inflight = 0
        self.websockets: set[Connection] = set()
        self.ending = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.ending.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ending.wait(), float(setting("START", "0")) / 1000)
            return
        port = int(setting("PORT", "8080"))
        await loop.create_server(lambda: Connection(self), setting("HOST", "") or None, port, backlog=4096)
        sys.stderr.write(f"v={self.version} listening on {port}\n")
        if life := float(setting("LIFE", "0")):
            loop.call_later(life / 1000, os._exit, 9)
        await self.ending.wait()
        sys.stderr.write(f"v={self.version} ending, {self.inflight} requests wait\n")
        end = time.monotonic() + self.behaviour["drain"] / 1000
        for connection in list(self.websockets):
            connection.go_away()
        while self.inflight and time.monotonic() < end:
            await asyncio.sleep(0.01)


class Faults:
    """Which requests fail and which are slow, besides a plain rate and a plain time."""

    def __init__(self) -> None:
        self.method, self.file = setting("ERR_METHOD", ""), setting("ERR_WHILE", "")
        self.tail, self.tail_ms = float(setting("TAIL", "0")), float(setting("TAIL_MS", "0"))
        self.cold, self.cold_ms = float(setting("COLD", "0")), float(setting("COLD_MS", "0"))
        self.capacity = self.room = float(setting("CAPACITY", "0"))  # room: requests that may still come now
        self.filled = time.monotonic()
        self.wrong, self.wrong_part = int(setting("WRONG", "0")), float(setting("WRONG_PART", "1"))
        self.hang = float(setting("HANG", "0"))

    def fails(self, method: str, rate: float) -> bool:
        if self.beyond_capacity():
            return True
        if (self.method and method != self.method) or (self.file and not Path(self.file).exists()):
            return False
        return random.random() < rate

    def beyond_capacity(self) -> bool:
        if not self.capacity:
            return False
        now = time.monotonic()
        self.room = min(self.capacity, self.room + self.capacity * (now - self.filled))
        self.filled = now
        if self.room < 1:
            return True
        self.room -= 1
        return False

    def delay(self, number: int) -> float:
        """Return the ms that the request of this number takes longer."""
        cold = self.cold_ms if number <= self.cold else 0
        return cold + (self.tail_ms if random.random() < self.tail else 0)


class Connection(asyncio.Protocol):
    """One client."""

    transport: asyncio.Transport

    def __init__(self, app: App) -> None:
        self.app = app
        self.data = b""
        self.waiting = self.closing = self.websocket = self.head = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self.app.websockets.discard(self)

    def data_received(self, data: bytes) -> None:
        self.data += data
        self.feed()

    def feed(self) -> None:
        while not self.waiting and not self.websocket and not self.transport.is_closing() and self.feed_http():
            pass
        while self.websocket and not self.transport.is_closing() and self.feed_websocket():
            pass

    def feed_http(self) -> bool:
        end = self.data.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self.data[:end].decode("latin-1").split("\r\n")
        method, target, protocol = first.split(" ", 2)
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
        self.head = method == "HEAD"
        self.closing = protocol == "HTTP/1.0" or headers.get("connection", "").lower() == "close"
        size = int(headers.get("content-length", 0))
        if "transfer-encoding" in headers or size > MAX_REQUEST:
            self.closing = True
            self.reply(411 if "transfer-encoding" in headers else 413, "")
            return False
        if len(self.data) < end + 4 + size:
            if "expect" in headers and len(self.data) == end + 4:
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return False
        body, self.data = self.data[end + 4 : end + 4 + size], self.data[end + 4 + size :]
        self.serve(method, target, headers, body)
        return True

    def serve(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        app, (path, _, query) = self.app, target.partition("?")
        options = dict(urllib.parse.parse_qsl(query))
        if method in {"POST", "PUT"}:
            return self.respond(method, 200, 0, body)
        match path:
            case "/up" | "/health":
                up = bool(app.behaviour["health"]) and not app.ending.is_set()
                return self.reply(200 if up else 503, "ok\n" if up else "down\n")
            case "/version":
                return self.reply(200, f"{app.version}\n")
            case "/stats":
                counts = {"n": app.requests, "err": app.errors, "inflight": app.inflight}
                return self.reply(200, json.dumps({**counts, "websockets": len(app.websockets)}) + "\n")
            case "/admin":
                app.behaviour.update({key: float(options[key]) for key in app.behaviour if key in options})
                return self.reply(200, "ok\n")
            case "/exit":
                os._exit(3)
            case "/ws":
                return self.upgrade(headers)
        status = int(options.get("code", 200)) if path == "/status" else 200
        wait = float(options.get("ms", 1000)) if path == "/slow" else 0
        return self.respond(method, status, wait, f"v={app.version} host={app.hostname}\n".encode())

    def respond(self, method: str, status: int, wait: float, body: bytes) -> None:
        app = self.app
        app.requests += 1
        if app.faults.fails(method, app.behaviour["err"]):
            status = 500
        wait += app.behaviour["lat"] + app.behaviour["jit"] * random.random() + app.faults.delay(app.requests)
        if random.random() < app.faults.hang:
            wait = 1e9
        if wait < 1:
            return self.answer(status, body)
        self.waiting = True
        app.inflight += 1
        asyncio.get_running_loop().call_later(wait / 1000, self.answer_late, status, body)
        return None

    def answer_late(self, status: int, body: bytes) -> None:
        self.waiting = False
        self.app.inflight -= 1
        self.answer(status, body)
        self.feed()

    def answer(self, status: int, body: bytes) -> None:
        self.app.errors += status == 500
        faults = self.app.faults
        if status == 200 and faults.wrong and random.random() < faults.wrong_part:
            return self.reply(faults.wrong, "" if faults.wrong == 200 else "injected\n")
        return self.reply(status, body if status == 200 else "injected\n")

    def reply(self, status: int, body: str | bytes) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.closing |= self.app.ending.is_set()
        head = (
            f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}\r\nContent-Type: text/html\r\n"
            f"Content-Length: {len(data)}\r\nX-Version: {self.app.version}\r\nX-Instance: {self.app.hostname}\r\n"
            f"{'Location: /' + chr(13) + chr(10) if status // 100 == 3 else ''}"
            f"{'Connection: close' + chr(13) + chr(10) if self.closing else ''}\r\n"
        )
        self.transport.write(head.encode() + (b"" if self.head else data))
        if self.closing:
            self.transport.close()

    def upgrade(self, headers: dict[str, str]) -> None:
        key = headers.get("sec-websocket-key")
        if not key:
            return self.reply(400, "not a WebSocket handshake\n")
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        self.transport.write(
            f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            f"{accept}\r\nX-Version: {self.app.version}\r\nX-Instance: {self.app.hostname}\r\n\r\n".encode()
        )
        self.websocket = True
        self.app.websockets.add(self)
        return None

    def feed_websocket(self) -> bool:
        parsed = parse_frame(self.data)
        if parsed is None:
            return False
        first, payload, used = parsed
        self.data = self.data[used:]
        opcode = first & 15
        if opcode != 10:  # a pong needs no answer; a ping becomes a pong, the rest goes back as it came
            self.transport.write(frame(0x8A if opcode == 9 else first, payload))
        if opcode == 8:
            self.transport.close()
        return True

    def go_away(self) -> None:
        self.transport.write(frame(0x88, (1001).to_bytes(2, "big")))
        self.transport.close()


def frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return bytes([first, size]) + payload
    if size < 65536:
        return bytes([first, 126]) + size.to_bytes(2, "big") + payload
    return bytes([first, 127]) + size.to_bytes(8, "big") + payload


def parse_frame(data: bytes) -> tuple[int, bytes, int] | None:
    """Return first byte, unmasked payload and length of the first frame; None while it is incomplete."""
    if len(data) < 6:
        return None
    size, at = data[1] & 127, 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        size, at = int.from_bytes(data[2 : 2 + wide], "big"), 2 + wide
    if len(data) < at + 4 + size:
        return None
    mask = data[at : at + 4]
    payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(data[at + 4 : at + 4 + size]))
    return data[0], payload, at + 4 + size


def command(arguments: list[str]) -> Iterator[str]:
    """Run one of the commands that stand in for a shell; gives what it prints."""
    match arguments:
        case ["health"]:
            with urllib.request.urlopen(f"http://127.0.0.1:{setting('PORT', '8080')}/health", timeout=15):
                return
        case ["cat", path]:
            yield Path(path).read_text()
        case ["env", name]:
            yield os.environ.get(name, "") + "\n"
        case ["sleep", seconds]:
            time.sleep(float(seconds))
        case _:
            sys.exit(f"unknown command: {arguments}")


def main(arguments: list[str]) -> None:
    if arguments:
        sys.stdout.writelines(command(arguments))
        return
    if "EXIT" in os.environ:
        sys.stderr.write(f"v={setting('VERSION', '0')} told to end\n")
        sys.exit(int(os.environ["EXIT"] or 0))

    async def serve() -> None:
        await App().run()

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1:])

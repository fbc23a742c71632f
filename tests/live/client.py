"""Clients that account for every request they send."""

from __future__ import annotations

import http.client
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Answer:
    status: int
    body: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def who(self) -> str:
        return self.headers.get("x-who", "")

    @property
    def cookie(self) -> str:
        return self.headers.get("set-cookie", "").split(";")[0]


def get(
    port: int,
    path: str = "/",
    headers: dict[str, str] | None = None,
    method: str = "GET",
    source: str = "127.0.0.1",
) -> Answer:
    """Ask once, on a connection of its own, from an address of this host."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        body = response.read().decode()
        return Answer(response.status, body, {k.lower(): v for k, v in response.getheaders()})
    finally:
        connection.close()


def burst(port: int, count: int, *, host: str = "x", pipeline: int = 50) -> Counter[str]:
    """Send requests as fast as one connection takes them; return how many each upstream answered.

    Each answer must be a 200; anything else counts under its status line.
    """
    request = f"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n".encode()
    seen: Counter[str] = Counter()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        left, buffer = count, b""
        while left:
            batch = min(pipeline, left)
            connection.sendall(request * batch)
            got = 0
            while got < batch:
                data = connection.recv(1 << 18)
                if not data:
                    raise ConnectionError(f"closed with {left} requests to go")
                buffer += data
                while (parsed := _one(buffer)) is not None:
                    key, buffer = parsed
                    seen[key] += 1
                    got += 1
            left -= batch
    return seen


def _one(buffer: bytes) -> tuple[str, bytes] | None:
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end].lower()
    at = head.index(b"content-length:") + 15
    length = int(head[at:].split(b"\r\n", 1)[0])
    total = end + 4 + length
    if len(buffer) < total:
        return None
    status = head.split(b"\r\n", 1)[0].decode()
    body = buffer[end + 4 : total].decode()
    return (body if " 200 " in status else status), buffer[total:]


class Load:
    """Steady requests from several keep-alive connections, in threads, until the block ends.

    A connection that the proxy closes between two answers is opened again, as every HTTP client does; a request that
    was sent on a fresh connection and got no good answer is a failure.
    """

    def __init__(self, port: int, *, connections: int = 4, pause: float = 0.002, path: str = "/") -> None:
        self.port = port
        self.path = path
        self.pause = pause
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self.reopened = 0
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]

    @property
    def answered(self) -> int:
        return sum(self.seen.values())

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(40)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self._end.is_set():
            try:
                connection.request("GET", self.path)
                response = connection.getresponse()
                body = response.read().decode()
                with self._lock:
                    self.seen[body if response.status == 200 else f"status {response.status}"] += 1
                    if response.status != 200:
                        self.failures.append(f"status {response.status}")
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
                connection.close()
            self._end.wait(self.pause)
        connection.close()

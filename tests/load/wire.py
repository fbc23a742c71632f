"""A client's HTTP/1.1 connection that hides nothing: no retry, no reconnect, every loss has a reason."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass

from tests.load.options import Target

LINE_LIMIT = 64 * 1024
CLOSE_WITHIN = 1.0  # seconds
BODILESS = frozenset({204, 304})


class Lost(Exception):
    """A request that got no complete response; the text says why."""


@dataclass(frozen=True)
class Question:
    """A request to send."""

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def wire(self, host: str) -> bytes:
        """Return the bytes to send."""
        lines = [f"{self.method} {self.path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in self.headers)]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + self.body


@dataclass(frozen=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    keep: bool  # the connection may be used again

    def header(self, name: str) -> str:
        """Return the first header of that name, or ""."""
        return next((value for key, value in self.headers if key == name.lower()), "")

    def all(self, name: str) -> list[str]:
        """Return all headers of that name."""
        return [value for key, value in self.headers if key == name.lower()]


class Connection:
    """One TCP connection, opened by its first request."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.used = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect if that has not been done. Raises Lost."""
        if self.reader is None or self.writer is None:
            name = self.target.name if self.target.tls else None
            try:
                self.reader, self.writer = await asyncio.open_connection(
                    self.target.address, self.target.port, ssl=self.target.tls, server_hostname=name, limit=LINE_LIMIT
                )
            except OSError as error:
                raise Lost(f"cannot connect: {error}") from error
        return self.reader, self.writer

    async def reusable(self) -> bool:
        """Return whether the peer has, as far as can be known before writing, left the connection open."""
        if self.reader is None:
            return True
        for _ in range(2):  # one turn of the loop reads what the kernel has, the next one sees it
            await asyncio.sleep(0)
        return not self.reader.at_eof() and self.reader.exception() is None

    async def ask(self, question: Question) -> Answer:
        """Send a request and read its whole answer. Raises Lost."""
        reader, writer = await self.open()
        self.used += 1
        where = "on a new connection" if self.used == 1 else f"on a connection used {self.used - 1} times before"
        try:
            writer.write(question.wire(self.target.host))
            await writer.drain()
        except OSError as error:
            raise Lost(f"broken while sending, {where}: {error}") from error
        return await read_answer(reader, where)

    async def close(self) -> None:
        """Close the connection; a peer that is gone already or takes nothing changes nothing for any request."""
        if self.writer is None:
            return
        self.writer.close()
        with suppress(OSError):
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self.writer.wait_closed()
            except TimeoutError:
                self.writer.transport.abort()
        self.reader = self.writer = None


async def read_answer(reader: asyncio.StreamReader, where: str) -> Answer:
    """Read one answer; interim ones (1xx, but not 101) are skipped."""
    try:
        while True:
            status, version, headers = await _head(reader, where)
            if status == 101 or status >= 200:
                break
        table = dict(reversed(headers))
        keep = version == "HTTP/1.1" and table.get("connection", "").lower() != "close"
        if status == 101 or status in BODILESS:
            return Answer(status, tuple(headers), b"", keep)
        if "chunked" in table.get("transfer-encoding", "").lower():
            return Answer(status, tuple(headers), await _chunked(reader), keep)
        if "content-length" in table:
            return Answer(status, tuple(headers), await reader.readexactly(int(table["content-length"])), keep)
        return Answer(status, tuple(headers), await reader.read(), False)
    except asyncio.IncompleteReadError as error:
        wanted = f" of {error.expected}" if error.expected else ""
        raise Lost(f"answer cut after {len(error.partial)}{wanted} bytes, {where}") from error
    except OSError as error:
        raise Lost(f"broken while waiting for the answer, {where}: {error}") from error
    except (ValueError, asyncio.LimitOverrunError) as error:
        raise Lost(f"not an HTTP answer: {error}") from error


async def _head(reader: asyncio.StreamReader, where: str) -> tuple[int, str, list[tuple[str, str]]]:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if not error.partial:
            raise Lost(f"closed without a response, {where}") from error
        raise Lost(f"closed in the head of the answer, {where}") from error
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    version, _, rest = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(repr(first[:40]))
    pairs = [line.partition(":") for line in lines]
    return int(rest[:3]), version, [(key.strip().lower(), value.strip()) for key, _, value in pairs]


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # trailers
    return bytes(body)

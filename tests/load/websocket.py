"""A WebSocket client for echoes (RFC 6455): text messages, ping, close; no extensions."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import struct
from contextlib import suppress

from tests.load.wire import Answer, Connection, Lost, Question

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
ORDERLY = frozenset({1001, 1012})  # going away, service restart: the peer asks to connect again


class WebSocket:
    """One WebSocket; what the peer sends is read as it comes, so that a close is seen between messages."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.ended = ""  # why it is over
        self.close_code = 0  # code of the peer's close frame
        self._inbox: asyncio.Queue[str | None] = asyncio.Queue()  # None: over
        self._listener: asyncio.Task[None] | None = None

    async def open(self, path: str, headers: tuple[tuple[str, str], ...]) -> Answer:
        """Shake hands. Raises Lost; an answer other than 101 is given back."""
        key = base64.b64encode(os.urandom(16)).decode()
        upgrade = (("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"))
        question = Question("GET", path, (*headers, *upgrade, ("Sec-WebSocket-Key", key)))
        answer = await self.connection.ask(question)
        if answer.status != 101:
            if answer.status < 400:
                raise Lost(f"no WebSocket here: status {answer.status} instead of 101")
            return answer
        proof = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if answer.header("Sec-WebSocket-Accept") != proof:
            raise Lost("the WebSocket handshake has a wrong Sec-WebSocket-Accept")
        self._listener = asyncio.create_task(self._listen())
        return answer

    async def echo(self, text: str) -> None:
        """Send a message and wait until it comes back. Raises Lost."""
        if self.ended:
            raise Lost(self.ended)
        try:
            await self._send(TEXT, text.encode())
        except OSError as error:
            self.ended = self.ended or f"WebSocket broken while sending: {error}"
            raise Lost(self.ended) from error
        reply = await self._inbox.get()
        if reply is None:
            raise Lost(self.ended)
        if reply != text:
            raise Lost(f"the echo differs: sent {text!r}, got {reply[:60]!r}")

    def moved(self) -> bool:
        """Return whether the peer closed in order and asks to connect again."""
        return self.close_code in ORDERLY

    async def close(self) -> None:
        """Send a goodbye and close; a peer that is gone already changes nothing for any message."""
        if self._listener is not None:
            if not self.ended:
                with suppress(OSError):
                    await self._send(CLOSE, struct.pack("!H", 1000))
            self._listener.cancel()
            await asyncio.gather(self._listener, return_exceptions=True)
        await self.connection.close()

    async def _listen(self) -> None:
        try:
            while not self.close_code:
                await self._take(*await self._frame())
        except asyncio.IncompleteReadError:
            self.ended = self.ended or "WebSocket closed without a close frame"
        except OSError as error:
            self.ended = self.ended or f"WebSocket broken: {error}"
        self._inbox.put_nowait(None)

    async def _take(self, opcode: int, payload: bytes) -> None:
        if opcode == TEXT:
            self._inbox.put_nowait(payload.decode(errors="replace"))
        elif opcode == PING:
            await self._send(PONG, payload)
        elif opcode == CLOSE:
            self.close_code = struct.unpack("!H", payload[:2])[0] if len(payload) >= 2 else 1005
            self.ended = f"WebSocket closed by the peer with {self.close_code}"
            await self._send(CLOSE, payload[:2])

    async def _frame(self) -> tuple[int, bytes]:
        reader, _ = await self.connection.open()
        first, second = await reader.readexactly(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await reader.readexactly(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await reader.readexactly(8))
        return first & 0x0F, await reader.readexactly(size)

    async def _send(self, opcode: int, payload: bytes) -> None:
        _, writer = await self.connection.open()
        size = len(payload)
        head = (
            struct.pack("!BB", 0x80 | opcode, 0x80 | size)
            if size < 126
            else struct.pack("!BBH", 0x80 | opcode, 0xFE, size)
        )
        mask = os.urandom(4)
        writer.write(head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload)))
        await writer.drain()

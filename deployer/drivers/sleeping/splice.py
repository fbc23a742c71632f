"""Bytes in both directions between two connections, until both sides have said all."""

from __future__ import annotations

import asyncio
from contextlib import suppress

CHUNK = 65536
CLOSE_SECONDS = 2.0

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Direction:
    """One direction."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.passed = 0  # bytes

    async def pass_on(self) -> None:
        try:
            while data := await self._reader.read(CHUNK):
                self._writer.write(data)
                await self._writer.drain()
                self.passed += len(data)
            if self._writer.can_write_eof():
                self._writer.write_eof()
        except OSError:  # one side was cut: so is the other
            self._writer.transport.abort()


async def splice(one: Connection, two: Connection, idle: float) -> None:
    """Pass on what each side says to the other, and the end of it; close both when both have ended.

    Once one has ended the other must go on: it ends too when nothing of it has passed for `idle` seconds.
    """
    ways = (_Direction(one[0], two[1]), _Direction(two[0], one[1]))
    tasks = [asyncio.create_task(way.pass_on()) for way in ways]
    try:
        _, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        while left:
            before = [way.passed for way in ways]
            _, left = await asyncio.wait(left, timeout=idle)
            if before == [way.passed for way in ways]:
                break
    finally:
        for task in tasks:
            task.cancel()
        for _, writer in (one, two):
            await close(writer, idle)


async def close(writer: asyncio.StreamWriter, patience: float = CLOSE_SECONDS) -> None:
    """Close a connection; one that the other side has cut is closed.

    It is cut where for so many seconds the other side takes nothing of what is still to be sent.
    """
    writer.close()
    closed = asyncio.ensure_future(writer.wait_closed())
    left = writer.transport.get_write_buffer_size()
    while not (await asyncio.wait({closed}, timeout=patience))[0]:
        before, left = left, writer.transport.get_write_buffer_size()
        if left == before:
            writer.transport.abort()
    with suppress(OSError):
        await closed

"""Bytes in both directions between two connections, until both sides have said all."""

from __future__ import annotations

import asyncio
from contextlib import suppress

CHUNK = 65536


async def splice(
    one: tuple[asyncio.StreamReader, asyncio.StreamWriter], two: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass on what each side says to the other, and the end of it; close both when both have ended."""
    try:
        await asyncio.gather(_pass_on(one[0], two[1]), _pass_on(two[0], one[1]))
    finally:
        for _, writer in (one, two):
            await close(writer)


async def close(writer: asyncio.StreamWriter) -> None:
    """Close a connection; one that the other side has cut is closed."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:  # one side was cut: so is the other
        writer.transport.abort()

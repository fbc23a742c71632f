"""What the waker says to the proxy where a service does not start: a 503, and when it is tried again."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

_ANSWER = (
    "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: {after}\r\n"
    "Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
)
# Of HTTP/2 (RFC 9113, RFC 7541): lengths, the kinds of frames that matter here, and their flags
_PREFACE, _HEAD = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 9
_HEADERS, _SETTINGS = 1, 4
_ACK, _WHOLE = 1, 5  # end of the headers, and of the stream
_STATUS, _RETRY_AFTER = b"\x08", b"\x0f\x26"  # names of the static table, with a value that is not to be remembered


def by_http1(service: str, after: float) -> bytes:
    """Return the answer to a request of HTTP/1.1."""
    text = f"{service} does not start at the moment\n"
    return _ANSWER.format(after=math.ceil(after), length=len(text), text=text).encode()


async def by_http2(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, after: float) -> None:
    """Answer each request on a connection of HTTP/2, until the other side closes it. Raise OSError and EOFError."""
    await reader.readexactly(_PREFACE)
    writer.write(_frame(_SETTINGS, 0, 0))
    while True:
        head = await reader.readexactly(_HEAD)
        kind, flags, stream = head[3], head[4], int.from_bytes(head[5:])
        await reader.readexactly(int.from_bytes(head[:3]))
        if kind == _SETTINGS and not flags & _ACK:
            writer.write(_frame(_SETTINGS, _ACK, 0))
        elif kind == _HEADERS:
            writer.write(_frame(_HEADERS, _WHOLE, stream, b"".join(_fields(after))))
        await writer.drain()


def _fields(after: float) -> Iterator[bytes]:
    for name, value in ((_STATUS, b"503"), (_RETRY_AFTER, str(math.ceil(after)).encode())):
        yield name + bytes([len(value)]) + value


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload

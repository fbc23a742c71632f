"""What an engine may do to whoever asks it: so many bytes of an answer, so many seconds for all of it.

The SDK gives each read a time-out, which a byte now and then renews without end, and takes an answer of any size.
"""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from deployer.core.background import within

if TYPE_CHECKING:
    import docker
    import requests

MOST = 64 * 1024 * 1024  # bytes of an answer that is no stream
ALL = 4  # calls of one client together may take so many times what one may
_CHUNK = 64 * 1024


class TooLarge(Exception):
    """An answer has more bytes than any that an engine has to give."""


def bound(client: docker.DockerClient, timeout: float) -> None:
    """Set an end to every call of a client: its connection, its headers, and all of an answer that is no stream."""
    from requests import ReadTimeout
    from requests.adapters import BaseAdapter

    left = float(ALL * timeout)

    class Bounded(BaseAdapter):
        def __init__(self, inner: BaseAdapter) -> None:
            super().__init__()
            self._inner = inner
            self._taken_over: list[requests.Response] = []

        def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
            nonlocal left
            given = options["timeout"] = options.get("timeout") or timeout
            seconds = float(given) if isinstance(given, int | float) else timeout
            began = time.monotonic()
            ends = began + min(seconds, max(left, 0.0))

            def answered() -> requests.Response:
                response = self._inner.send(request, *args, **options)
                if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
                    self._taken_over.append(response)  # its connection never goes back to the pool
                elif not options.get("stream"):
                    _read(response, ends)
                return response

            try:
                return within(ends - began, "engine call", answered)
            except TimeoutError as error:
                raise ReadTimeout(str(error), request=request) from None
            finally:
                left -= min(time.monotonic() - began, timeout)

        def close(self) -> None:
            for response in self._taken_over:
                response.close()
            self._inner.close()

    for prefix, adapter in list(client.api.adapters.items()):
        client.api.mount(prefix, Bounded(adapter))


def _read(response: requests.Response, ends: float) -> None:
    """Read the body as `Response.content` would, as far as size and time go."""
    parts, size = [], 0
    while chunk := response.raw.read1(_CHUNK, decode_content=True):
        size += len(chunk)
        if size > MOST:
            response.close()
            raise TooLarge(f"its response has more than {MOST // 1024 // 1024} MiB")
        if time.monotonic() > ends:
            response.close()
            raise TimeoutError("no complete response in time")
        parts.append(chunk)
    response._content, response._content_consumed = b"".join(parts), True  # type: ignore[attr-defined]

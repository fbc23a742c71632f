"""One HTTP request on a connection of its own: no redirects, no pooling, no proxy settings of the environment.

`http.client` rather than requests: it lets the connection go to one address under the name of another, follows nothing,
and works on a socket that a deadline can cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPMessage, RemoteDisconnected
from urllib.parse import urlsplit

from deployer.transport.sockets import NoAnswer, connection

MOST = 1024 * 1024  # bytes of an answer that are read; health pages are small, and an endless one must end
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Response:
    """What came back: at most the first MiB of the body, as text."""

    status: int
    headers: HTTPMessage
    body: str


def get(base: str, path: str, headers: Mapping[str, str], seconds: float) -> Response:
    """Request `path` from `base` (`http://host:port` or https); a Host header names the service, also to TLS.

    Raises NoAnswer with what was seen; takes never longer than `seconds`.
    """
    url = urlsplit(base)
    host, port = url.hostname or "", url.port or _PORTS[url.scheme]
    given = {name.lower(): value for name, value in headers.items()}
    name = urlsplit(f"//{given.get('host') or host}").hostname or host
    with connection(f"{host}:{port}", seconds, name if url.scheme == "https" else None) as sock:
        client = HTTPConnection(host, port)
        client.sock = sock
        try:
            # A connection kept open would hold a place in a small instance and delay its drain.
            client.request("GET", path, headers={**headers, "Connection": "close"})
            response = client.getresponse()
            body = response.read(MOST)
        except HTTPException as error:
            raise NoAnswer(_odd(error)) from error
        return Response(response.status, response.headers, body.decode("utf-8", "replace"))


def _odd(error: HTTPException) -> str:
    if isinstance(error, RemoteDisconnected):
        return "the connection was closed without a response"
    return f"the response is not HTTP/1: {type(error).__name__} {str(error)[:80]!r}"

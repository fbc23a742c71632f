"""A service that keeps a client's session in the memory of one instance, and a client of it, as long polling does.

The protocol is that of engine.io, which socket.io speaks by default: the first poll is answered with a session id,
every later one names it, and an instance that does not know the id answers 400.
"""

from __future__ import annotations

import http.client
import itertools
import json
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from tests.live.upstream import Http, Upstream


class Polling(Upstream):
    """An instance. `/engine`: a new session; `/engine?sid=ID`: that session, or 400; other paths as an Upstream."""

    def __init__(self, name: str, port: int = 0) -> None:
        super().__init__(name, port)
        self.sessions: set[str] = set()
        self.numbers = itertools.count(1)

    def protocol(self) -> Http:
        return _Protocol(self, self._connections)


class _Protocol(Http):
    upstream: Polling

    def answer(self, head: bytes, path: str, query: str = "") -> bytes:
        if path != "/engine":
            return super().answer(head, path, query)
        upstream = self.upstream
        sid = parse_qs(query).get("sid", [""])[0]
        known = not sid or sid in upstream.sessions
        if not sid:
            sid = f"{upstream.name}-{next(upstream.numbers)}"
            upstream.sessions.add(sid)
        said = {"sid": sid} if known else {"code": 1, "message": "Session ID unknown"}
        body = json.dumps({**said, "who": upstream.name}).encode()
        status = b"200 OK" if known else b"400 Bad Request"
        about = b"content-type: text/plain; charset=UTF-8\r\ncontent-length: %d" % len(body)
        return b"HTTP/1.1 %s\r\n%s\r\nx-who: %s\r\n\r\n%s" % (status, about, upstream.name.encode(), body)


class Browser:
    """A client with a cookie jar, on one connection of its own at a time."""

    def __init__(self, port: int, cookies: dict[str, str] | None = None) -> None:
        self.port = port
        self.cookies = dict(cookies or {})
        self.given: list[str] = []  # Set-Cookie headers of the last response
        self.sid = ""
        self.lost = 0  # sessions that an instance did not know
        self.statuses: list[int] = []

    def get(self, path: str = "/", method: str = "GET") -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, path, headers={"cookie": cookie} if cookie else {})
            response = connection.getresponse()
            self.text = response.read().decode()
        finally:
            connection.close()
        self.given = response.headers.get_all("set-cookie") or []
        for each in self.given:
            self.cookies |= {name: morsel.value for name, morsel in SimpleCookie(each).items()}
        self.statuses.append(response.status)
        return response

    def who(self, path: str = "/") -> str:
        """Return the name of the instance that answers."""
        response = self.get(path)
        assert response.status == 200, self.text
        return response.headers["x-who"]

    def poll(self) -> str:
        """Poll the session, or begin one; begin again where it was unknown. Return the name of the instance."""
        response = self.get(f"/engine?sid={self.sid}" if self.sid else "/engine")
        said = json.loads(self.text)
        if response.status == 400:
            self.sid = ""
            self.lost += 1
            return self.poll()
        assert response.status == 200, self.text
        self.sid = said["sid"]
        return str(said["who"])

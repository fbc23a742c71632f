"""A program that is told things over HTTP, and answers as it is told to: well, badly, late, or not at all."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECONDS = 20.0


@dataclass(frozen=True)
class Heard:
    """One request as it came."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The JSON of it."""
        found: dict[str, Any] = json.loads(self.body)
        return found

    def genuine(self, key: str) -> bool:
        """Return whether it is signed with this key."""
        text = self.headers["X-Deploy-Timestamp"].encode() + b"." + self.body
        return (
            self.headers["X-Deploy-Signature-256"]
            == "sha256=" + hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
        )


class Hook:
    """What was heard, and how it answers: `statuses` one after the other, the last for good; 0 hangs up."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.heard: list[Heard] = []
        self.statuses = [204]
        self.location = ""
        self.hangs = False
        self.free = threading.Event()  # ends what hangs
        self._news = threading.Condition()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.address}"

    def hear(self, heard: Heard) -> int:
        """Take a request; return the status of the answer."""
        with self._news:
            status = self.statuses[min(len(self.heard), len(self.statuses) - 1)]
            self.heard.append(heard)
            self._news.notify_all()
        if self.hangs:
            self.free.wait(SECONDS)
        return status

    def until(self, ready: Callable[[Hook], bool], what: str) -> None:
        """Wait until what was heard is as wanted."""
        with self._news:
            assert self._news.wait_for(lambda: ready(self), SECONDS), f"{what}: {self.heard}"

    @property
    def events(self) -> list[str]:
        """What was told, in order."""
        return [str(heard.data["event"]) for heard in self.heard]


@contextmanager
def hook() -> Iterator[Hook]:
    """Listen on the loopback as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = opened.hear(Heard(self.path, {**self.headers}, body))
            with suppress(OSError):  # whoever sent it has gone
                if not status:
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(status)
                if opened.location:
                    self.send_header("Location", opened.location)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        opened = Hook(f"127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield opened
        finally:
            opened.free.set()
            server.shutdown()
            thread.join()

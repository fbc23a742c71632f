"""An authority for tests, as far as every answer is alike: a subclass says what is asked, and what becomes of it."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class AcmeHandler(http.server.BaseHTTPRequestHandler):
    """Answers as an authority does: each response has a nonce for the next request."""

    @property
    def base(self) -> str:
        """The address of the authority."""
        return f"http://127.0.0.1:{self.server.server_port}"  # type: ignore[attr-defined]

    def do_HEAD(self) -> None:
        self.send(200, None)

    def send(self, status: int, body: Any, more: dict[str, str] | None = None, kind: str = "application/json") -> None:
        """Send a response; a text is sent as it is, all else as JSON."""
        text = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Replay-Nonce": "bm9uY2U", **(more or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_given: object) -> None:
        pass


@contextmanager
def answering(handler: type[AcmeHandler]) -> Iterator[str]:
    """Serve by a handler; yield the address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()

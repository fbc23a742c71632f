"""A service with a database: each request writes a person and reads it back, as this version knows the table."""

from __future__ import annotations

import importlib
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

psycopg: Any = importlib.import_module("psycopg")  # of the Python that runs it
VERSION = os.environ["VERSION"]
WRITE = {
    "1.0": "insert into person (name) values ('Ada Lovelace') returning name",
    "2.0": "insert into person (first, last) values ('Ada', 'Lovelace') returning first || ' ' || last",
}


class Handler(BaseHTTPRequestHandler):
    """Answers with the name that it wrote; with 500 where the database does not understand it."""

    def do_GET(self) -> None:
        status, body = 200, b"Ada Lovelace"
        if self.path != "/health":
            try:
                with psycopg.connect("", autocommit=True, connect_timeout=5) as db:
                    body = str(db.execute(WRITE[VERSION]).fetchone()[0]).encode()
            except psycopg.Error as error:
                status, body = 500, str(error).encode()
        self.send_response(status)
        self.send_header("X-Version", VERSION)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer((os.environ.get("HOST", "127.0.0.1"), int(os.environ["PORT"])), Handler).serve_forever()

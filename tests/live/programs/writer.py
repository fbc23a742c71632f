"""A worker that must be alone: it writes what it does into one file, and says when somebody else does so, too."""

from __future__ import annotations

import fcntl
import http.server
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

VERSION, FILE = os.environ["VERSION"], os.environ["WRITES_TO"]


def write(what: str) -> None:
    with Path(FILE).open("a", encoding="utf-8") as file:
        file.write(f"{VERSION} {what}\n")


class Answer(http.server.BaseHTTPRequestHandler):
    """Writes the version."""

    def do_GET(self) -> None:
        body = VERSION.encode()
        self.send_response(200)
        self.send_header("X-Version", VERSION)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


def work() -> NoReturn:
    while True:
        write("works")
        threading.Event().wait(0.01)


def end(_number: int, _frame: FrameType | None) -> NoReturn:
    write("ends")
    sys.exit(0)


def main() -> None:
    with Path(f"{FILE}.lock").open("a", encoding="utf-8") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            write("IS NOT ALONE")
        signal.signal(signal.SIGTERM, end)
        write("begins")
        threading.Thread(target=work, daemon=True).start()
        http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Answer).serve_forever()


if __name__ == "__main__":
    main()

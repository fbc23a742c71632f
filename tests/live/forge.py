"""A Git repository that somebody pushes to, and what serves it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.live.shop import Shop


class Remote:
    """A bare repository on a server, and the work tree of whoever pushes to it: the folder of a shop."""

    def __init__(self, shop: Shop) -> None:
        self.shop, self.bare = shop, shop.folder / "served" / "shop.git"
        self.bare.parent.mkdir()
        (shop.folder / ".gitignore").write_text("state\nserved\n*.txt\nkeys\n")
        self._git("init", "-q", "--bare", "-b", "main", str(self.bare))
        self._git("init", "-q", "-b", "main", ".")
        self._git("config", "user.email", "ann@example.com")
        self._git("config", "user.name", "Ann")

    def push(self, version: str) -> str:
        self.shop.write(version=version)
        self._git("add", "-A")
        self._git("commit", "-q", "-m", f"Bring {version}")
        self._git("push", "-q", str(self.bare), "main")
        self._git("--git-dir", str(self.bare), "update-server-info")  # for clients that only read files
        return self._git("rev-parse", "--short=12", "HEAD")

    def _git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.shop.folder, check=True, capture_output=True, text=True, timeout=30
        )
        return done.stdout.strip()


@contextmanager
def over_http(folder: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/shop.git"
        finally:
            server.shutdown()
            thread.join(10)

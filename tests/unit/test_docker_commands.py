"""Output of a command in a container, as the engine may send it."""

from __future__ import annotations

import socketserver
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed
from deployer.drivers.runtime.docker import commands


class Engine(BaseHTTPRequestHandler):
    """Responds as an engine does whose command has printed before the headers were sent."""

    protocol_version = "HTTP/1.1"
    hangs = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if not self.path.endswith("/start"):
            self._json(b'{"Id": "1"}')
            return
        frames = b"".join(
            struct.pack(">BxxxL", stream, len(text)) + text for stream, text in ((1, b"out"), (2, b"err"))
        )
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
        self.wfile.write(head + frames)  # in one piece
        if self.hangs:
            self.rfile.read(1)
        self.close_connection = True

    def do_GET(self) -> None:
        self._json(b'{"Running": %s, "ExitCode": 3}' % (b"true" if self.hangs else b"false"))

    def _json(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def engine(state: Path) -> Iterator[docker.DockerClient]:
    path = state / "engine.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), Engine) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        client = docker.DockerClient(base_url=f"unix://{path}", version="1.44")
        yield client
        client.close()
        server.shutdown()


def test_output_that_comes_along_with_the_headers_is_not_lost(engine: docker.DockerClient) -> None:
    deadline = Deadline.after(SystemClock(), 20)
    assert commands.run(engine, "c", ["bin/check"], deadline) == (3, "outerr")


def test_a_command_that_goes_on_is_left_at_the_deadline(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "hangs", True)
    with pytest.raises(DeadlinePassed):
        commands.run(engine, "c", ["sleep"], Deadline.after(SystemClock(), 0.5))

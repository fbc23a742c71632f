"""Output of a command in a container, as the engine may send it."""

from __future__ import annotations

import socketserver
import ssl
import struct
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed
from deployer.core.host import Host
from deployer.drivers.runtime.docker import commands
from deployer.drivers.runtime.docker.tls_engine import TlsEngine
from tests.machines.authority import Authority


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


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[docker.DockerClient]:
    """Yield a client of such an engine on another host, by TLS."""
    authority = Authority(tmp_path / "certs")
    certificate = tmp_path / "engine.pem"
    certificate.write_bytes(b"".join(authority.made("web1", address="127.0.0.1")))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Engine) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        address = f"tcp://127.0.0.1:{server.server_address[1]}"
        link = TlsEngine(
            Host("web1", "127.0.0.1", "ssh", "127.0.0.1", engine=address, engine_certs=str(authority.folder))
        )
        with closing(link.connect(30, "1.44")) as client:
            yield client
        link.close()
        server.shutdown()


def test_output_that_comes_along_with_the_headers_is_not_lost(engine: docker.DockerClient) -> None:
    deadline = Deadline.after(SystemClock(), 60)
    assert commands.run(engine, "c", ["bin/check"], deadline) == (3, "outerr")


def test_output_comes_by_tls_too(secured: docker.DockerClient) -> None:
    assert commands.run(secured, "c", ["bin/check"], Deadline.after(SystemClock(), 60)) == (3, "outerr")


@pytest.mark.parametrize("client", ["engine", "secured"])
def test_a_command_that_goes_on_is_left_at_the_deadline(
    request: pytest.FixtureRequest, client: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Engine, "hangs", True)
    with pytest.raises(DeadlinePassed):
        commands.run(request.getfixturevalue(client), "c", ["sleep"], Deadline.after(SystemClock(), 0.5))

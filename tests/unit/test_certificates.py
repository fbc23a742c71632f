"""TLS to an engine: whom it believes, what is said when it does not, and what the environment has no say in."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import HostsUnreachable, Refused, Unreachable
from deployer.core.host import Host, ServiceHosts
from deployer.drivers.hosts.readiness import ending
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.engine_pool import EnginePool
from deployer.drivers.runtime.docker.tls_engine import TlsEngine
from deployer.transport.certificates import Certificates, greet, place, said
from tests.machines.authority import Authority
from tests.ports import free_port

HERE = "127.0.0.1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "certs")


@dataclass
class Listening:
    """An engine, as far as it says its version."""

    address: str
    connections: list[Any] = field(default_factory=list)

    def host(self, authority: Authority) -> Host:
        return Host("web1", HERE, "ssh", HERE, engine=self.address, engine_certs=str(authority.folder))


@contextmanager
def listening(authority: Authority, cert: tuple[bytes, bytes] | None, believes: bytes | None) -> Iterator[Listening]:
    """Listen with a certificate, for who shows one that is signed by somebody; without one there is no TLS."""
    answers = {"/version": {"ApiVersion": "1.45", "Version": "26.1"}}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            heard.connections.append(self.client_address)
            super().setup()

        def do_GET(self) -> None:
            body = json.dumps(answers.get(self.path, "OK")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: Any) -> None:
            pass  # whoever is refused hangs up

    with Server((HERE, 0), Handler) as server:
        heard = Listening(f"tcp://{HERE}:{server.server_address[1]}")
        if cert is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=(believes or authority.ca).decode())
            file = authority.folder.parent / "engine.pem"
            file.write_bytes(cert[0] + cert[1])
            context.load_cert_chain(file)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield heard
        finally:
            server.shutdown()
            thread.join()


def ask(engine: Listening, authority: Authority) -> None:
    """Ask it as a deploy does, and as a check does; both must say the same."""
    host, certificates = engine.host(authority), Certificates(authority.folder)
    reach = EnginePool(SystemClock(), "test", "")
    try:
        reach.fleet(ServiceHosts((host,))).instances("shop")
    except HostsUnreachable as error:
        why = error.silent["web1"]
        with pytest.raises(OSError) as greeted:
            greet(host.engine, certificates, 30)
        text = said(greeted.value, host.engine, certificates).text
        assert text == why or ("it refuses" in text and "it refuses" in why), "what it says of us may be lost"
        raise Unreachable(why) from error
    finally:
        reach.close()


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("untrusted", "its certificate is not trusted: unable to get local issuer certificate"),
        ("another machine", "its certificate belongs to another host: IP address mismatch"),
        ("expired", "its certificate is refused: certificate has expired"),
        ("we are strangers", r"it refuses \S+/cert.pem"),
        ("plain", "it does not speak TLS"),
    ],
)
def test_what_is_not_proven_is_said_by_whom(authority: Authority, tmp_path: Path, fault: str, text: str) -> None:
    signer = Authority(tmp_path / "stranger") if fault == "untrusted" else authority
    cert = signer.made("web1", days=-1 if fault == "expired" else 9, address="192.0.2.1" if "other" in fault else HERE)
    believes = Authority(tmp_path / "other").ca if fault == "we are strangers" else authority.ca
    with (
        listening(authority, None if fault == "plain" else cert, believes) as engine,
        pytest.raises(Unreachable, match=text),
    ):
        ask(engine, authority)


def test_nobody_listens(authority: Authority) -> None:
    nobody = Listening(f"tcp://{HERE}:{free_port()}")
    with pytest.raises(Unreachable, match=f"{nobody.address}: connection refused"):
        ask(nobody, authority)


def test_connections_are_used_again_and_the_environment_has_no_say(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither whom to believe nor which way to go is what variables say that others are meant by."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(Authority(tmp_path / "stranger").folder / "ca.pem"))
    monkeypatch.setenv("HTTPS_PROXY", f"http://{HERE}:{free_port()}")
    with listening(authority, authority.made("web1", address=HERE), None) as engine:
        link = TlsEngine(engine.host(authority))
        asked = Engine(link.connect, "web1", 30)
        for _ in range(5):
            asked.ping()
        link.close()
        assert len(engine.connections) == 1
        with pytest.raises(Unreachable, match="the link is closed"):
            asked.ping()
        assert greet(engine.address, Certificates(authority.folder), 5).version == "26.1"


def test_files_that_cannot_be_used_are_named_all_at_once(authority: Authority) -> None:
    certificates = Certificates(authority.folder)
    assert list(certificates.troubles()) == []
    certificates.ca.unlink()
    certificates.key.chmod(0o640)
    texts = [trouble.text for trouble in certificates.troubles()]
    assert texts == [f"{certificates.ca} is not there", f"{certificates.key} can be read by others (mode 0640)"]
    certificates.ca.write_bytes(authority.ca)
    certificates.key.write_bytes(authority.made("another")[1])
    certificates.key.chmod(0o600)
    (trouble,) = certificates.troubles()
    assert "KEY_VALUES_MISMATCH" in trouble.text
    certificates.key.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    (trouble,) = certificates.troubles()
    assert "without a password" in trouble.remedy


@pytest.mark.parametrize(
    ("days", "text"),
    [(40, ""), (20, "ends on"), (-1, "has ended on")],
)
def test_what_ends_soon(tmp_path: Path, days: float, text: str) -> None:
    authority = Authority(tmp_path / "certs", days)
    traits = list(ending(Certificates(authority.folder).ends(), SystemClock()))
    assert [f"{authority.folder / 'cert.pem'} {text}" in trait.text for trait in traits] == ([True] if text else [])


@pytest.mark.parametrize(
    "address",
    ["10.0.0.7:2376", "tcp://10.0.0.7", "tcp://:2376", "tcp://a:0", "tcp://a:99999", "tcp://a:1/x", "tcp://u@a:1",
     "ssh://a", "unix:///run/docker.sock", "https://a:2376", "tcp://[::1:2376", "tcp://a:b"],
)  # fmt: skip
def test_no_address_of_an_engine(address: str) -> None:
    with pytest.raises(Refused, match=r"is not an address of an engine"):
        place(address)


def test_addresses_of_engines() -> None:
    assert place("tcp://engine.example.com:2376") == ("engine.example.com", 2376)
    assert place("tcp://[2001:db8::7]:2376") == ("2001:db8::7", 2376)

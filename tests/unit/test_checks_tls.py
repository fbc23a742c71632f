"""Smoke tests over TLS: to loopback under the name of the service, and strict elsewhere."""

from __future__ import annotations

import datetime
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deployer.transport.http import get
from deployer.transport.sockets import NoAnswer


def self_signed(folder: Path, name: str) -> Path:
    """Write a certificate that no authority signed and that ended long ago, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC))
        .not_valid_after(datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC))
        .sign(key, hashes.SHA256())
    )
    pem = folder / "site.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem


class Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write((self.headers["Host"] or "").encode())

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def tls_site(tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the port of a TLS site and the names that clients asked for."""
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path, "somebody.else"))
    context.sni_callback = lambda sock, name, ctx: names.append(name or "")
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        # The handshake is left to the thread of the request, or a client that refuses would end the listener.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        server.handle_error = lambda request, client_address: None  # type: ignore[method-assign]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, names
        server.shutdown()
        thread.join()


def test_loopback_is_asked_by_the_name_of_the_service_whatever_its_certificate(tls_site: Any) -> None:
    port, names = tls_site

    answer = get(f"https://127.0.0.1:{port}", "/", {"Host": "shop.example.com"}, 30)

    assert (answer.status, answer.body) == (200, "shop.example.com")
    assert names == ["shop.example.com"]


def test_anything_but_loopback_must_show_a_certificate_that_holds(
    tls_site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, _ = tls_site
    monkeypatch.setattr("deployer.transport.sockets._is_loopback", lambda host: False)

    with pytest.raises(NoAnswer, match="its certificate was not accepted: self-signed certificate"):
        get(f"https://127.0.0.1:{port}", "/", {"Host": "shop.example.com"}, 30)


def test_a_plain_port_is_named_as_such() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        with pytest.raises(NoAnswer, match=r"TLS failed: WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|reset"):
            get(f"https://127.0.0.1:{server.server_port}", "/", {}, 30)
        thread.join()

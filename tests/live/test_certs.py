"""Certificates that are got by themselves, from a real authority (pebble), shown by a real proxy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import pytest
from cryptography import x509

from tests.live.conftest import Make
from tests.live.pebble import Pebble, pebble
from tests.live.shop import Shop
from tests.ports import free_port
from tests.services import require


@pytest.fixture
def shop(make_shop: Make) -> Shop:
    shop = make_shop("process")
    shop.version("1.0")
    return shop


@pytest.fixture
def authority(shop: Shop) -> Iterator[Pebble]:
    require("pebble")
    with pebble(shop.folder / "authority", shop.port) as running:
        yield running


def tls(shop: Shop, authority: Pebble, *domains: str, **auto: object) -> int:
    """Write the manifest; return the port of the TLS entry."""
    port = free_port()
    traffic = {"listen": f"127.0.0.1:{shop.port}", "domains": list(domains)}
    shop.write(traffic={**traffic, "tls": {"auto": authority.auto(**auto), "listen": f"127.0.0.1:{port}"}})
    return port


def shown(port: int, domain: str) -> x509.Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 5) as raw, context.wrap_socket(raw, server_hostname=domain) as s:
        return x509.load_der_x509_certificate(s.getpeercert(binary_form=True) or b"")


def test_a_first_deploy_gets_a_certificate(shop: Shop, authority: Pebble) -> None:
    port = tls(shop, authority, "shop.example.com")
    told = shop.deploy("up", "--version", "1.0")
    print(told.stdout, told.stderr)
    certificate = shown(port, "shop.example.com")
    assert "Pebble" in certificate.issuer.rfc4514_string()
    (row,) = shop.events("certs")[0]["certificates"]
    assert row["source"] == "auto"
    assert row["proxies"] == {"": f"{certificate.serial_number:x}"}
    print(shop.deploy("certs").stdout)
    print(shop.deploy("certs", "renew").stdout)

"""Certificates that are got by themselves, from a real authority (pebble), shown by a real proxy."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from deployer.core.clock import SystemClock
from deployer.drivers.certificates import CertificateKeeper, OrderFailed
from deployer.manifest.tls import AutoTls
from tests.documents import REPOSITORY
from tests.live.conftest import Make
from tests.live.haproxy.conftest import blue as blue
from tests.live.pebble import Pebble, pebble
from tests.live.proxies import Bench, programs
from tests.live.shop import Shop
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live
SHOP, WWW = "shop.example.com", "www.example.com"


@pytest.fixture
def shop(make_shop: Make) -> Shop:
    shop = make_shop("process")
    shop.program = "c"
    shop.manifest |= {"replicas": 1}
    shop.version("1.0")
    return shop


@pytest.fixture
def authority(shop: Shop) -> Iterator[Pebble]:
    require("pebble")
    with pebble(shop.folder / "authority", shop.port) as running:
        yield running


def tls(shop: Shop, auto: dict[str, Any], *domains: str) -> int:
    """Write the manifest; return the port of the TLS entry."""
    port = free_port()
    traffic = {"listen": f"127.0.0.1:{shop.port}", "domains": list(domains)}
    shop.write(traffic={**traffic, "tls": {"auto": auto, "listen": f"127.0.0.1:{port}"}})
    return port


def shown(port: int, domain: str) -> x509.Certificate:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname=domain) as connection,
    ):
        return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")


def issuer(port: int, domain: str) -> str:
    return shown(port, domain).issuer.rfc4514_string()


@pytest.mark.long("two deploys, with an authority of its own", every_change=True)
def test_a_first_deploy_gets_certificates_and_they_are_renewed_and_listed(shop: Shop, authority: Pebble) -> None:
    authority.name("set-servfail", host=WWW)  # the name server knows nothing of it
    port = tls(shop, authority.auto(email="ops@example.com"), SHOP, WWW)
    told = shop.deploy("up", "--version", "1.0")
    assert f"{SHOP}, {WWW}: certificates are ordered by HTTP, from localhost" in told.stderr
    assert f"{SHOP}: issued by Pebble" in told.stderr
    assert f"{WWW}: the authority could not connect to it" in told.stderr
    assert told.stdout.splitlines()[-1] == f"no certificate yet for {WWW}: `deploy certs` says why"
    assert "Pebble" in issuer(port, SHOP)
    assert "placeholder" in issuer(port, WWW)

    one, two = shop.events("certs")[0]["certificates"]
    serial = f"{shown(port, SHOP).serial_number:x}"
    assert (one["domain"], one["source"], one["serial"], one["proxies"]) == (SHOP, "auto", serial, {"": serial})
    assert (two["domain"], two["source"]) == (WWW, "placeholder")
    assert "the authority could not connect to it" in two["problem"]

    authority.name("clear-servfail", host=WWW)
    waits = {each["domain"]: each["state"] for each in shop.events("certs", "renew")}
    assert waits == {SHOP: "kept", WWW: "waiting"}  # not repeated in a loop
    assert shop.events("certs", "renew", WWW)[0]["state"] == "issued"
    assert shop.events("certs", "renew", SHOP)[0]["state"] == "issued"
    assert f"{shown(port, SHOP).serial_number:x}" != serial
    assert "Pebble" in issuer(port, WWW)

    # every command of the page
    pem = (shop.state / "certificates" / f"{SHOP}.pem").read_text()
    cut = pem.index("-----BEGIN CERTIFICATE")
    (shop.folder / "privkey.pem").write_text(pem[:cut])
    (shop.folder / "fullchain.pem").write_text(pem[cut:])
    page = (REPOSITORY / "docs" / "certificates.md").read_text()
    commands = sorted(set(re.findall("`deploy (certs[^`]*)`", page)))
    assert len(commands) >= 5
    for command in commands:
        assert SHOP in shop.deploy(*command.split()).stdout, command


@pytest.mark.long("a deploy while the authority is down")
def test_a_deploy_does_not_wait_for_an_authority_that_is_down(shop: Shop) -> None:
    port = tls(shop, {"directory": f"https://localhost:{free_port()}/dir", "probe": False}, SHOP)
    told = shop.deploy("up", "--version", "1.0")
    assert "cannot be used: connection refused" in told.stderr
    assert told.stdout.splitlines()[-1] == f"no certificate yet for {SHOP}: `deploy certs` says why"
    assert "placeholder" in issuer(port, SHOP)


@pytest.mark.long("a wildcard, proven by a record that a program sets")
def test_a_wildcard_by_dns(shop: Shop, authority: Pebble) -> None:
    record = shop.folder / "record"
    record.write_text(
        "#!/bin/sh\n"
        "case $1 in present) way=set-txt ;; *) way=clear-txt ;; esac\n"
        f'exec curl -fsS -X POST -d "{{\\"host\\":\\"$2\\",\\"value\\":\\"$3\\"}}" {authority.names}/$way\n'
    )
    record.chmod(0o755)
    dns = {"run": [str(record)], "wait": "0s"}
    port = tls(shop, authority.auto(dns=dns), "*.shop.example.com")
    shop.deploy("up", "--version", "1.0")
    certificate = shown(port, "anything.shop.example.com")
    assert "Pebble" in certificate.issuer.rfc4514_string()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["*.shop.example.com"]
    assert shop.events("certs", "renew", "*.shop.example.com")[0]["state"] == "issued"


# -- without a command: a keeper, a proxy, and an authority that makes it hard


@pytest.fixture
def bench(state: Path) -> Iterator[Bench]:
    require("haproxy", "pebble")
    made = Bench(state, programs()[0])
    try:
        yield made
    finally:
        made.close()


@pytest.mark.long("ten orders, nine nonces of ten refused")
def test_nonces_that_are_refused_and_certificates_of_six_days(bench: Bench, blue: Upstream) -> None:
    from deployer.drivers.certificates import supplied

    with pebble(bench.folder / "authority", bench.port, refused=90, valid=6 * 86400) as running:
        auto = AutoTls(directory=running.directory, ca=str(running.ca), probe=False)
        keeper = CertificateKeeper(bench.folder, SystemClock())
        domains = tuple(f"n{number}.example.com" for number in range(10))
        bench.traffic = supplied(bench.traffic, keeper, auto, domains)  # type: ignore[assignment]
        listen = {"auto": auto.model_dump(), "listen": f"127.0.0.1:{free_port()}"}
        bench.put("blue", blue, domains=list(domains), tls=listen)
        for domain in domains:
            facts = keeper.order(domain, auto, within(120))
            assert facts.names == (domain,)
            assert round(facts.life / 86400) == 6
            bench.traffic.certificates.install([keeper.served(domain, auto)], within())
        found = bench.traffic.certificates.shown("shop")[""]
        assert {keeper.facts(found[domain]).names for domain in domains} == {(domain,) for domain in domains}
        suggestion = keeper.suggestion(domains[0], auto, within())
        kept = keeper.kept(domains[0])
        assert kept is not None
        assert kept.begins < suggestion.start < suggestion.end < kept.ends
        authority_gone = AutoTls(directory=running.directory, ca=str(running.ca), probe=False)
    with pytest.raises(OrderFailed, match="cannot be used: connection refused"):
        keeper.order(domains[0], authority_gone, within(30))
    assert keeper.kept(domains[0]) == kept

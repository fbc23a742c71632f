"""Certificates of `tls: auto` at a real proxy: a placeholder at once, then swapped without a reload, read back."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.drivers.certificates import CertificateKeeper, keys, supplied
from deployer.drivers.traffic.haproxy import certificates
from deployer.drivers.traffic.haproxy.endpoint_files import Cards
from deployer.drivers.traffic.proxies import protocol
from deployer.drivers.traffic.proxies.members import Members
from deployer.drivers.traffic.proxies.proxy_group import ProxyGroup
from deployer.manifest.tls import AutoTls
from deployer.model import Live
from deployer.planning.certificates import ServedCertificate
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live
DOMAIN, OTHER = "shop.example.com", "www.example.com"


class Served:
    """A service with `tls: auto` on a bench, supplied from a state folder."""

    def __init__(self, bench: Bench, upstream: Upstream) -> None:
        self.bench = bench
        self.keeper = CertificateKeeper(bench.folder, SystemClock())
        self.port = free_port()
        self.bare = bench.traffic
        bench.traffic = supplied(bench.traffic, self.keeper, AutoTls(), (DOMAIN, OTHER))  # type: ignore[assignment]
        self.settings: dict[str, Any] = {
            "domains": [DOMAIN, OTHER],
            "tls": {"auto": True, "listen": f"127.0.0.1:{self.port}"},
        }
        bench.put("blue", upstream, **self.settings)
        bench.set_traffic(Live("blue"))

    def shown(self, domain: str = DOMAIN) -> str:
        return keys.facts(self.bench.traffic.certificates.shown("shop")[""][domain]).serial

    def renew(self, domain: str = DOMAIN) -> str:
        """Keep another certificate, and have the proxy show it; return its serial."""
        made = keys.placeholder(domain, SystemClock().now(), 90)
        cut = made.index("-----BEGIN CERTIFICATE")
        facts = self.keeper.keep(domain, made[cut:], made[:cut])
        self.bench.traffic.certificates.install([self.keeper.served(domain, AutoTls())], within())
        return facts.serial


@pytest.fixture
def served(bench: Bench, blue: Upstream) -> Served:
    return Served(bench, blue)


def test_a_placeholder_then_a_certificate_without_a_reload(served: Served) -> None:
    first = served.shown()
    workers = served.bench.workers()
    serial = served.renew()
    assert served.shown() == serial != first
    assert served.shown(OTHER) != serial
    assert served.bench.workers() == workers
    assert served.bench.traffic.inspection.drift("shop") == ()  # nothing that only a reload would bring
    # a placeholder, offered again, never takes the place of a certificate
    served.bare.certificates.install([served.keeper.served(OTHER, AutoTls())], within())
    served.bench.traffic.configure(served.bench.release(**served.settings), None, within())
    assert served.shown() == serial
    # a proxy that is started again shows what it had
    served.bench.kill_master()
    assert served.shown() == serial


def test_the_proxy_answers_an_authority_for_its_domains_only(served: Served) -> None:
    def asked(host: str, path: str) -> tuple[int, str]:
        with closing(http.client.HTTPConnection("127.0.0.1", served.bench.port, timeout=30)) as connection:
            connection.request("GET", path, headers={"Host": host})
            response = connection.getresponse()
            return response.status, response.read().decode()

    account = served.keeper.served(DOMAIN, AutoTls()).account
    assert asked(DOMAIN, "/.well-known/acme-challenge/t0-ken_") == (200, f"t0-ken_.{account}")
    assert asked(f"{DOMAIN.upper()}.:80", "/.well-known/acme-challenge/t0") == (200, f"t0.{account}")
    assert asked(DOMAIN, "/.well-known/acme-challenge/a/b")[0] == 308  # as any other path
    assert asked(DOMAIN, "/.well-known/acme-challenge/%3cb%3e")[0] == 308
    assert asked("other.example.com", "/.well-known/acme-challenge/t0")[0] == 404


def test_keys_are_for_their_owner_and_go_with_the_service(served: Served, blue: Upstream) -> None:
    served.renew()
    folder = served.bench.root / "certificates"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = sorted(folder.iterdir())
    assert len(files) == 4
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    served.bench.put("blue", blue, service="stays", domains=["stays.example.com"])
    served.bench.traffic.forget("shop", within())
    assert list(folder.iterdir()) == []


def test_a_certificate_that_is_lost_is_a_refusal_and_repaired(served: Served) -> None:
    serial = served.renew()
    path = certificates.file_of(served.bare.parts.home, DOMAIN)
    path.unlink()
    with pytest.raises(Refused):
        served.bare.inspection.check(served.bench.manifest(**served.settings, path="/x"), within())
    served.bench.traffic.upkeep.repair("shop", within())
    assert path.exists()
    assert served.shown() == serial


@pytest.mark.long("five proxies")
def test_several_proxies_show_one_certificate(state: Path, program: Path, blue: Upstream) -> None:
    benches: dict[str, Bench] = {}
    try:
        for name in ("edge1", "edge2", "edge3", "edge4", "edge5"):
            (state / name).mkdir()
            benches[name] = Bench(state / name, program)
        members = {name: bench.traffic for name, bench in benches.items()}
        group = ProxyGroup(Members(members, SystemClock()), SystemClock(), Cards(state, ""))
        keeper = CertificateKeeper(state, SystemClock())
        for bench in benches.values():
            supply = supplied(bench.traffic, keeper, AutoTls(), (DOMAIN,))
            tls = {"auto": True, "listen": f"127.0.0.1:{free_port()}"}
            supply.configure(bench.release(domains=[DOMAIN], tls=tls), "blue", within())

        def serials() -> dict[str, str]:
            shown = group.certificates.shown("shop")
            return {name: keeper.facts(by[DOMAIN]).serial for name, by in shown.items()}

        assert len(set(serials().values())) == 1  # of the placeholder
        made = keys.placeholder(DOMAIN, SystemClock().now(), 90)
        cut = made.index("-----BEGIN CERTIFICATE")
        serial = keeper.keep(DOMAIN, made[cut:], made[:cut]).serial
        group.certificates.install([keeper.served(DOMAIN, AutoTls())], within())
        assert serials() == dict.fromkeys(members, serial)
    finally:
        for bench in benches.values():
            bench.close()


def test_a_certificate_goes_to_another_host_as_it_is() -> None:
    given = (ServedCertificate(DOMAIN, "THUMB", "KEY AND CHAIN"), ServedCertificate(OTHER, "THUMB", "KEY", True))
    line = protocol.line(protocol.encoded("install", {"given": given}))
    assert protocol.decoded("install", protocol.read(line)) == {"given": given}
    assert protocol.result("shown", {"": {DOMAIN: "PEM"}}) == {"": {DOMAIN: "PEM"}}


@pytest.mark.long("a thousand certificates, one after the other, while clients shake hands")
def test_a_thousand_swaps_under_load_fail_no_handshake(served: Served) -> None:
    served.renew()
    stop, failed, good = threading.Event(), list[str](), [0, 0, 0]

    def shake(number: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"] if number else ["http/1.1"])
        while not stop.is_set():
            try:
                with (
                    socket.create_connection(("127.0.0.1", served.port), 10) as raw,
                    context.wrap_socket(raw, server_hostname=DOMAIN) as tls,
                ):
                    tls.getpeercert(binary_form=True)
                good[number] += 1
            except OSError as error:
                failed.append(repr(error))

    clients = [threading.Thread(target=shake, args=(number,)) for number in range(3)]
    for client in clients:
        client.start()
    try:
        workers = served.bench.workers()
        for _ in range(1000):
            serial = served.renew()
            assert served.shown() == serial
        assert served.bench.workers() == workers
    finally:
        stop.set()
        for client in clients:
            client.join()
    assert failed == []
    assert min(good) > 0

"""TLS, HTTP/2 and gRPC, WebSocket, plain TCP."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets.sync.client
import websockets.sync.server

from deployer.model import Live, Server
from tests.live.certificates import certificate
from tests.live.client import Answer, get
from tests.live.h2wire import H2Client, H2Upstream
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import TcpUpstream, Upstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live


def _secure(port: int, pem: Path, path: str = "/", host: str = "shop.example.com", alpn: str = "http/1.1") -> Answer:
    context = ssl.create_default_context(cafile=str(pem))
    context.set_alpn_protocols([alpn])
    raw = socket.create_connection(("127.0.0.1", port), timeout=10)
    with context.wrap_socket(raw, server_hostname=host) as tls:
        assert tls.selected_alpn_protocol() == alpn
        if alpn == "h2":
            return Answer(0, "")
        connection = http.client.HTTPConnection(host)
        connection.sock = tls
        connection.request("GET", path, headers={"host": host})
        response = connection.getresponse()
        return Answer(response.status, response.read().decode(), {k.lower(): v for k, v in response.getheaders()})


def test_tls_redirect_and_hsts(bench: Bench, blue: Upstream, green: Upstream) -> None:
    pem = certificate(bench.folder / "shop.pem", "shop.example.com")
    tls_port = free_port()
    tls = {"certificates": [str(pem)], "listen": f"127.0.0.1:{tls_port}", "hsts": "1y"}
    bench.both(blue, green, domains=["shop.example.com"], tls=tls, sticky=True)
    bench.set_traffic(Live("blue", 5000, 0, 3))

    answer = _secure(tls_port, pem)
    assert answer.status == 200
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["set-cookie"].endswith("; Secure")
    assert json.loads(_secure(tls_port, pem, "/headers").body)["x-forwarded-proto"] == "https"
    _secure(tls_port, pem, alpn="h2")

    with bench.traffic.samples("shop") as samples:
        plain = get(bench.port, "/a?b=c", {"host": f"shop.example.com:{bench.port}"})
        assert plain.status == 308
        assert plain.headers["location"] == f"https://shop.example.com:{tls_port}/a?b=c"
        assert "strict-transport-security" not in plain.headers
        assert "set-cookie" not in plain.headers
        _secure(tls_port, pem)
        seen = Seen(samples)
        within().until(lambda: seen.requests() >= 1, "told")
    assert seen.stable + seen.candidate == 1, "a redirect is no answer of a release"

    headers = bench.traffic.preview("shop")[1]
    preview = get(bench.port, "/headers", headers)
    assert preview.who == "g1", "smoke tests are not redirected"
    assert json.loads(preview.body)["x-forwarded-proto"] == "https"


def test_a_renewed_certificate_is_loaded_by_the_next_deploy(bench: Bench, blue: Upstream) -> None:
    pem = certificate(bench.folder / "shop.pem", "shop.example.com")
    tls_port = free_port()
    tls = {"certificates": [str(pem)], "listen": f"127.0.0.1:{tls_port}"}
    bench.put("blue", blue, tls=tls)
    bench.set_traffic(Live("blue"))
    assert _secure(tls_port, pem).status == 200
    renewed = certificate(bench.folder / "shop.pem", "shop.example.com")
    with pytest.raises(ssl.SSLCertVerificationError):
        _secure(tls_port, renewed)
    bench.put("blue", blue, tls=tls)
    assert _secure(tls_port, renewed).status == 200


def test_two_services_with_certificates_of_their_own_share_an_address(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    tls_port = free_port()
    for name, upstream in (("shop", blue), ("cart", green)):
        pem = certificate(bench.folder / f"{name}.pem", f"{name}.example.com")
        tls = {"certificates": [str(pem)], "listen": f"127.0.0.1:{tls_port}"}
        bench.put("blue", upstream, service=name, domains=[f"{name}.example.com"], tls=tls)
        bench.set_traffic(Live("blue"), name)
    for name, who in (("shop", "b1"), ("cart", "g1")):
        assert _secure(tls_port, bench.folder / f"{name}.pem", host=f"{name}.example.com").who == who


def test_grpc_calls_of_one_connection_are_split_and_follow_a_flip(bench: Bench) -> None:
    with H2Upstream("b1") as blue, H2Upstream("g1") as green:
        for colour, upstream in (("blue", blue), ("green", green)):
            release = bench.release(protocol="h2", health={"tcp": True})
            bench.traffic.configure(release, colour, within())  # type: ignore[arg-type]
            bench.traffic.attach("shop", colour, [bench.server(upstream)], within())  # type: ignore[arg-type]
        bench.set_traffic(Live("blue", 5000, 0, 1))
        client = H2Client(bench.port)
        try:
            calls = [client.call() for _ in range(200)]
            assert {(status, grpc) for status, _, grpc in calls} == {("200", "0")}
            who = Counter(body for _, body, _ in calls)
            assert 60 <= who["b1"] <= 140
            bench.set_traffic(Live("green", 0, 0, 1))
            assert client.call()[1] == "g1"
        finally:
            client.close()


def test_http2_without_tls_reaches_an_http1_instance(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    client = H2Client(bench.port)
    try:
        assert client.call("/")[:2] == ("200", "b1")
    finally:
        client.close()


@pytest.fixture
def sockets() -> Iterator[dict[str, Server]]:
    """Yield a WebSocket server for each colour: it says its name, then echoes."""
    servers, threads = {}, []
    for name in ("b1", "g1"):

        def handle(connection: websockets.sync.server.ServerConnection, name: str = name) -> None:
            connection.send(name)
            for message in connection:
                connection.send(message)

        server = websockets.sync.server.serve(handle, "127.0.0.1", 0)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        threads.append((server, thread))
        servers[name] = Server(name, f"127.0.0.1:{server.socket.getsockname()[1]}")
    yield servers
    for server, thread in threads:
        server.shutdown()
        thread.join(20)


def test_a_websocket_lives_through_a_flip_a_reload_and_a_drain(bench: Bench, sockets: dict[str, Server]) -> None:
    for colour, name in (("blue", "b1"), ("green", "g1")):
        release = bench.release(health={"tcp": True})
        bench.traffic.configure(release, colour, within())  # type: ignore[arg-type]
        bench.traffic.attach("shop", colour, [sockets[name]], within())  # type: ignore[arg-type]
    bench.set_traffic(Live("blue", 0, 0, 1))
    with websockets.sync.client.connect(f"ws://127.0.0.1:{bench.port}/", open_timeout=10) as old:
        assert old.recv(timeout=20) == "b1"
        bench.set_traffic(Live("green", 0, 0, 1))
        bench.traffic.configure(bench.release(timeouts={"response": "33s"}, health={"tcp": True}), "green", within())
        assert bench.traffic.drain("shop", "blue", ["b1"], within(0.3)) == 1, "old workers count too"
        old.send("still there")
        assert old.recv(timeout=20) == "still there"
        with websockets.sync.client.connect(f"ws://127.0.0.1:{bench.port}/", open_timeout=10) as new:
            assert new.recv(timeout=20) == "g1"
        bench.traffic.detach("shop", "blue", ["b1"], within())
        with pytest.raises(websockets.exceptions.ConnectionClosed):
            old.recv(timeout=20)


def _connect(port: int, source: str = "127.0.0.1") -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        connection.sendall(b"x")
        return connection.makefile().readline().strip()


def test_a_tcp_service_is_split_by_connection(bench: Bench) -> None:
    with TcpUpstream("b1") as blue, TcpUpstream("g1") as green:
        bench.both(blue, green, mode="tcp")
        bench.set_traffic(Live("blue", 5000, 0, 1))
        with bench.traffic.samples("shop") as samples:
            who = Counter(_connect(bench.port) for _ in range(200))
            seen = Seen(samples)
            within().until(lambda: seen.requests() >= 200, "all are told")
        assert 60 <= who["g1"] <= 140
        assert (seen.stable, seen.candidate, seen.errors) == (who["b1"], who["g1"], 0)


def test_a_sticky_tcp_client_is_known_by_its_address(bench: Bench) -> None:
    with TcpUpstream("b1") as blue, TcpUpstream("g1") as green:
        bench.both(blue, green, mode="tcp", sticky=True)
        sources = [f"127.0.1.{n}" for n in range(1, 61)]
        before: set[str] = set()
        for share in (2000, 5000, 9000):
            bench.set_traffic(Live("blue", share, 0, 1))
            now = {s for s in sources if _connect(bench.port, s) == "g1"}
            assert before <= now
            assert now == {s for s in sources if _connect(bench.port, s) == "g1"}
            before = now
        assert 40 <= len(before) <= 60
        bench.set_traffic(Live("blue", 5000, 0, 2))
        first = {s for s in sources if _connect(bench.port, s) == "g1"}
        assert 12 <= len(first) <= 48


def test_a_tcp_server_that_cannot_be_reached_is_an_error_of_its_side(bench: Bench) -> None:
    with TcpUpstream("b1") as blue, TcpUpstream("g1") as green:
        bench.both(blue, green, mode="tcp")
        bench.set_traffic(Live("blue", 10000, 0, 1))
        with bench.traffic.samples("shop") as samples:
            green.stop()  # and at once, before the proxy's checks have seen it
            assert _connect_refused(bench.port)
            seen = Seen(samples)
            within().until(lambda: seen.requests() >= 1, "it is told")
        assert (seen.candidate, seen.candidate_errors) == (1, 1)


def _connect_refused(port: int) -> bool:
    try:
        return _connect(port) == ""
    except ConnectionResetError:
        return True

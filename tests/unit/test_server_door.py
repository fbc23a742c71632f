"""Attacks on the port of `deploy serve` by real sockets: half-open ones, many, slow ones, strangers of one address."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from deployer.server import event_routes
from deployer.server.connection_guard import IDLE_SECONDS, REQUEST_SECONDS, Room, neighbours
from deployer.server.guard import OPEN, RequestLimits
from tests.api import Api
from tests.live.certificates import certificate
from tests.served import behind_a_door

SECONDS = 20.0
SMALL = Room(most=40, strangers=30, each=8)
HALF = b"GET /api/v1/health HTTP/1.1\r\nhost: 127.0.0.1\r\n"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def connect(url: str, said: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """Open a connection from an address of the loopback, say so much, and stay."""
    port = int(url.rpartition(":")[2])
    made = socket.create_connection(("127.0.0.1", port), timeout=SECONDS, source_address=(source, 0))
    made.sendall(said)
    return made


def is_closed(connection: socket.socket) -> bool:
    """Return whether the server has closed it, without waiting for that."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def eventually(what: str, true: object) -> None:
    assert callable(true)
    Deadline.after(SystemClock(), SECONDS).until(true, what, every=0.01)


def test_half_open_connections_of_many_addresses_keep_nobody_out(api: Api) -> None:
    token = api.token()
    with behind_a_door(api, SMALL) as url, ExitStack() as stack:
        for n in range(100):
            stack.enter_context(closing(connect(url, HALF, f"127.0.1.{n + 1}")))
            if n % 20 == 0:
                assert requests.get(url + OPEN, timeout=SECONDS).status_code == 200
                assert requests.get(f"{url}/api/v1/services", headers=token, timeout=SECONDS).status_code == 200


def test_one_address_has_its_part_and_those_who_share_it_come_in(api: Api) -> None:
    with behind_a_door(api, SMALL) as url, ExitStack() as stack:
        held = [stack.enter_context(closing(connect(url, HALF))) for _ in range(20)]
        eventually("the oldest make room", lambda: sum(map(is_closed, held)) == 20 - SMALL.each)
        assert all(map(is_closed, held[: 20 - SMALL.each]))
        other = stack.enter_context(closing(connect(url, HALF, "127.0.2.1")))
        for _ in range(SMALL.each):
            assert requests.get(url + OPEN, timeout=SECONDS).status_code == 200
        assert not is_closed(other), "whoever comes from elsewhere loses nothing"


def test_who_has_shown_a_token_is_not_pushed_out(api: Api) -> None:
    with behind_a_door(api, SMALL) as url, ExitStack() as stack:
        kept = stack.enter_context(closing(HTTPConnection("127.0.0.1", int(url.rpartition(":")[2]), timeout=SECONDS)))
        kept.connect()
        kept.auto_open = 0  # it does not come again by itself
        for turn in range(3):
            kept.request("GET", "/api/v1/services", headers=api.token())
            with kept.getresponse() as answer:
                assert (answer.status, answer.read()[:1]) == (200, b"{"), turn
            for n in range(50):
                stack.enter_context(closing(connect(url, HALF, f"127.0.1.{n + 1}")))


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("said", [b"", HALF])
def test_a_request_has_a_deadline_from_accept_to_the_end_of_its_headers(
    api: Api, tmp_path: Path, tls: bool, said: bytes
) -> None:
    pem = certificate(tmp_path / "tls.pem", "localhost") if tls else None
    with behind_a_door(api, SMALL, pem=pem) as url, closing(connect(url, said)) as slow:
        assert requests.get(url + OPEN, timeout=SECONDS, verify=str(pem) if pem else None).status_code == 200
        api.scene.world.clock.sleep(REQUEST_SECONDS - 1)
        assert requests.get(url + OPEN, timeout=SECONDS, verify=str(pem) if pem else None).status_code == 200
        assert tls or not is_closed(slow)
        api.scene.world.clock.sleep(2)
        eventually("the server closes it", lambda: is_closed(slow))


def test_the_next_request_of_a_connection_has_one_too(api: Api) -> None:
    with behind_a_door(api, SMALL) as url, closing(connect(url, HALF + b"\r\n")) as slow:
        assert slow.recv(1000).startswith(b"HTTP/1.1 200")
        slow.sendall(HALF)

        def is_closed_after_its_time() -> bool:
            api.scene.world.clock.sleep(IDLE_SECONDS + REQUEST_SECONDS + 1)  # the answer may end a moment after it came
            return is_closed(slow)

        eventually("the server closes it", is_closed_after_its_time)


def test_a_stream_of_events_is_not_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "ALIVE_SECONDS", 0.1)
    with behind_a_door(api, SMALL) as url:
        path = f"{url}/api/v1/services/shop/events"
        with requests.get(path, headers=api.token(), stream=True, timeout=SECONDS) as stream:
            lines = stream.iter_lines(chunk_size=1)
            assert next(lines) == b"retry: 1000"
            api.scene.world.clock.sleep(1000)
            assert requests.get(url + OPEN, timeout=SECONDS).status_code == 200
            assert b": alive" in (next(lines), next(lines), next(lines))
            api.desk.hub.close()


def test_connections_of_a_named_proxy_are_those_of_many(api: Api) -> None:
    proxies = (ipaddress.ip_network("127.0.0.1"),)
    with behind_a_door(api, SMALL, proxies) as url, ExitStack() as stack:
        held = [stack.enter_context(closing(connect(url, HALF))) for _ in range(20)]
        assert requests.get(url + OPEN, timeout=SECONDS).status_code == 200
        assert not any(map(is_closed, held))


@pytest.mark.parametrize(
    ("named", "told", "believed"),
    [
        ("127.0.0.1", "203.0.113.9", True),
        ("127.0.0.1", "6.6.6.6, 203.0.113.9", True),
        ("10.0.0.0/8", "203.0.113.9", False),
    ],
)
def test_only_a_named_proxy_says_who_asks(tmp_path: Path, named: str, told: str, believed: bool) -> None:
    api = Api(tmp_path, RequestLimits())
    with behind_a_door(api, SMALL, (ipaddress.ip_network(named),)) as url:
        asked = [
            requests.get(f"{url}/api/v1/services", headers={"X-Forwarded-For": told}, timeout=SECONDS).status_code
            for _ in range(25)
        ]
        assert 429 in asked
        another = {"X-Forwarded-For": "203.0.113.10"}
        status = requests.get(f"{url}/api/v1/services", headers=another, timeout=SECONDS).status_code
        assert status == (401 if believed else 429)
    api.close()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("no address", "no address", True),
    ],
)
def test_who_shares_an_address(one: str, other: str, same: bool) -> None:
    assert (neighbours(one) == neighbours(other)) == same

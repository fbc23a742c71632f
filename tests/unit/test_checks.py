"""Probes and smoke tests against real sockets on loopback."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.checks import DirectChecks
from deployer.manifest.models import Manifest
from deployer.model import Instance
from tests.ports import free_port
from tests.waiting import within

CLOCK = SystemClock()


class Site(BaseHTTPRequestHandler):
    """Answers by path; `seen` keeps what was asked."""

    seen: list[tuple[str, dict[str, str]]] = []  # noqa: RUF012 -- each server gets a subclass with its own

    def do_GET(self) -> None:
        self.seen.append((self.path, {k.lower(): v for k, v in self.headers.items()}))
        status, headers, body = {
            "/up": (200, {"X-State": "ready"}, b"all is well"),
            "/moved": (302, {"Location": "/up"}, b""),
            "/broken": (500, {}, b"Traceback\n\x1b[31mKeyError: 'DATABASE'\n" + b"x" * 999),
            "/big": (200, {}, b"y" * (3 * 1024 * 1024) + b"needle"),
        }.get(self.path, (404, {}, b"no such page"))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except (BrokenPipeError, ConnectionResetError):
            return  # the probe stops reading at its limit

    def log_message(self, format: str, *args: Any) -> None:
        return


@pytest.fixture
def site() -> Iterator[tuple[str, list[tuple[str, dict[str, str]]]]]:
    class Handler(Site):
        seen = []  # noqa: RUF012 -- its own

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"127.0.0.1:{server.server_port}", Handler.seen
        server.shutdown()
        thread.join()


@contextmanager
def raw(speak: Callable[[socket.socket], None]) -> Iterator[str]:
    """Serve each connection with a function of the socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(peer: socket.socket) -> None:
        with peer:
            try:
                speak(peer)
            except OSError:
                return  # the probe has hung up, as it must

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(peer,)))
            threads[-1].start()

    acceptor = threading.Thread(target=accept)
    acceptor.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in [acceptor, *threads]:
            thread.join()


class Commands:
    """A runtime that only runs commands, by a function of the test."""

    def __init__(self, run: Callable[[Sequence[str], Deadline], tuple[int, str]]) -> None:
        self._run = run

    def run(self, instance: Instance, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        return self._run(command, deadline)


def never(command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
    raise AssertionError("no command was to be run")


def checks(run: Callable[[Sequence[str], Deadline], tuple[int, str]] = never) -> DirectChecks:
    return DirectChecks(Commands(run), CLOCK)  # type: ignore[arg-type]


def manifest(**more: Any) -> Manifest:
    return Manifest.model_validate({"service": "shop", "image": "shop", "port": 8080, **more})


def instance(address: str = "127.0.0.1:1", **more: Any) -> Instance:
    base = Instance("shop", "blue", 3, 1, "shop-r3-1", "c0ffee", address, "running")
    return replace(base, **more)


def probe(health: dict[str, Any], target: Instance, seconds: float = 30) -> str:
    patient = {"timeout": 30, **health}  # where much else is done two seconds are short
    return checks().probe(manifest(health=patient), target, Deadline.after(CLOCK, seconds))


def smoke(tests: list[dict[str, Any]], base: str, headers: dict[str, str], seconds: float = 30) -> str:
    patient = [{"timeout": 30, **test} for test in tests]
    return checks().smoke(manifest(smoke=patient), base, headers, Deadline.after(CLOCK, seconds))


@pytest.mark.parametrize(
    ("health", "seen"),
    [
        ({"http": "/up"}, ""),
        ({"http": "/up", "body": "is well", "header": {"x-state": "ready"}}, ""),
        ({"http": "/moved"}, ""),  # 302 is within 200-399, and is not followed
        ({"http": "/moved", "status": "200"}, "HTTP 302, expected 200"),
        ({"http": "/broken"}, "HTTP 500, expected 200-399"),
        ({"http": "/up", "body": "absent"}, "'absent' is not in the body (11 characters)"),
        ({"http": "/up", "header": {"X-State": "busy"}}, "header X-State is 'ready', expected 'busy'"),
        ({"http": "/up", "header": {"X-None": "1"}}, "header X-None is missing, expected '1'"),
        ({"http": "/big", "body": "needle"}, "'needle' is not in the first MiB of the body"),
    ],
)
def test_http_probe_says_what_it_saw(site: Any, health: dict[str, Any], seen: str) -> None:
    address, asked = site

    answer = probe(health, instance(address))

    assert answer == (f"GET http://{address}{health['http']}: {seen}" if seen else "")
    assert [path for path, _ in asked] == [health["http"]]
    assert asked[0][1]["connection"] == "close"


def test_http_probe_sends_the_host_of_the_manifest(site: Any) -> None:
    address, asked = site

    assert probe({"http": "/up", "host": "shop.example.com"}, instance(address)) == ""
    assert asked[0][1]["host"] == "shop.example.com"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
def test_http_probe_goes_past_the_proxy_of_the_environment(
    site: Any, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, f"http://127.0.0.1:{free_port()}")

    assert probe({"http": "/up"}, instance(site[0])) == ""


@pytest.mark.parametrize("health", [{"http": "/up"}, {"tcp": True}])
def test_nobody_listening_is_connection_refused(health: dict[str, Any]) -> None:
    answer = probe(health, instance(f"127.0.0.1:{free_port()}"))

    assert answer.endswith(": connection refused")


def silent(peer: socket.socket) -> None:
    peer.recv(65536)
    peer.recv(1)  # until the probe hangs up


def dribbling(peer: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: " + b"x" * 10_000:
        peer.sendall(bytes([byte]))
        time.sleep(0.02)


def stalled_in_the_body(peer: socket.socket) -> None:
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nall")
    silent(peer)


@pytest.mark.parametrize("speak", [silent, dribbling, stalled_in_the_body])
def test_an_http_probe_ends_in_time_whatever_the_instance_does(speak: Callable[[socket.socket], None]) -> None:
    with raw(speak) as address:
        patience = within()
        answer = probe({"http": "/up", "timeout": 0.3}, instance(address))

    assert answer == f"GET http://{address}/up: no response within 0.3 s"
    assert not patience.passed()


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        (b"", "the connection was closed without a response"),
        (b"220 mail.example.com ESMTP\r\n", "the response is not HTTP/1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "the response is not HTTP/1: LineTooLong"),
    ],
)
def test_an_answer_that_is_none(said: bytes, seen: str) -> None:
    def speak(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(said)

    with raw(speak) as address:
        assert seen in probe({"http": "/up"}, instance(address))


def test_an_endless_body_is_cut() -> None:
    def speak(peer: socket.socket) -> None:
        peer.recv(65536)
        peer.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            peer.sendall(b"z" * 65536)

    with raw(speak) as address:
        assert probe({"http": "/up"}, instance(address)) == ""


def test_tcp_probe_passes_whoever_waits_or_greets() -> None:
    def greet(peer: socket.socket) -> None:
        peer.sendall(b"hello")
        peer.recv(1)

    for speak in (silent, greet):
        with raw(speak) as address:
            assert probe({"tcp": True}, instance(address)) == ""


def test_tcp_probe_is_not_fooled_by_a_proxy_that_accepts_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.transport.sockets._HANGS_UP_WITHIN", 20.0)  # on a busy host it takes its time
    with raw(lambda peer: None) as address:
        answer = probe({"tcp": True}, instance(address))

    assert answer == f"tcp {address}: the connection was accepted and closed at once; nothing listens behind it"


def test_command_probe_believes_the_exit_code() -> None:
    deadlines: list[float] = []

    def run(command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        deadlines.append(deadline.left())
        return (0, "fine") if command[0] == "true" else (3, "cannot reach\n\x1b[1mdb")

    asked = checks(run)
    good, bad = (manifest(health={"command": [c], "timeout": "2s"}) for c in ("true", "false"))

    assert asked.probe(good, instance(), Deadline.after(CLOCK, 60)) == ""
    seen = asked.probe(bad, instance(), Deadline.after(CLOCK, 0.5))

    assert seen == "command 'false' in shop-r3-1: exit code 3, expected 0: cannot reach [1mdb"
    assert 1 < deadlines[0] <= 2
    assert deadlines[1] <= 0.5


@pytest.mark.parametrize(
    ("error", "seen"),
    [
        (DeadlinePassed("exec: not within 2 s"), "command 'true' in shop-r3-1: no end within 2 s"),
        (DriverFailed("container is not running"), "command 'true' in shop-r3-1: container is not running"),
    ],
)
def test_command_probe_turns_trouble_into_a_sentence(error: Exception, seen: str) -> None:
    def run(command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
        raise error

    assert checks(run).probe(manifest(health={"command": ["true"]}), instance(), Deadline.after(CLOCK, 60)) == seen


@pytest.mark.parametrize(
    ("state", "seen"),
    [
        ({"health": "healthy"}, ""),
        ({"health": "starting"}, "HEALTHCHECK of shop-r3-1 says starting, expected healthy"),
        ({"health": "unhealthy"}, "HEALTHCHECK of shop-r3-1 says unhealthy, expected healthy"),
        ({}, "shop-r3-1 has no HEALTHCHECK; add one to the image or use health.http, tcp or command"),
        ({"state": "exited", "exit_code": 137}, "shop-r3-1 is exited (exit code 137), expected running"),
    ],
)
def test_docker_probe_reads_the_instance_as_given(state: dict[str, Any], seen: str) -> None:
    assert probe({"docker": True}, instance(**state)) == seen


def test_no_time_left_is_no_pass(site: Any) -> None:
    address, asked = site

    assert probe({"http": "/up"}, instance(address), seconds=0) == "not asked: no time was left"
    assert smoke([{"get": "/up"}], f"http://{address}", {}, seconds=0).endswith("not run: no time was left")
    assert asked == []


def test_smoke_tests_run_in_order_with_the_headers_of_the_route(site: Any) -> None:
    address, asked = site
    tests: list[dict[str, Any]] = [
        {"get": "/up", "body": "well", "header": {"Accept": "text/html", "X-Side": "stable"}},
        {"get": "/up"},
    ]

    assert smoke(tests, f"http://{address}", {"Host": "shop.example.com", "X-Side": "candidate"}) == ""

    assert [path for path, _ in asked] == ["/up", "/up"]
    assert all(h["host"] == "shop.example.com" and h["x-side"] == "candidate" for _, h in asked)
    assert asked[0][1]["accept"] == "text/html"


def test_a_smoke_test_may_use_another_name_of_the_service(site: Any) -> None:
    address, asked = site

    smoke([{"get": "/up", "header": {"host": "www.example.com"}}], f"http://{address}", {"Host": "shop.example.com"})

    assert asked[0][1]["host"] == "www.example.com"


def test_the_first_failing_smoke_test_is_named_with_the_beginning_of_its_answer(site: Any) -> None:
    address, asked = site

    seen = smoke([{"get": "/up"}, {"get": "/broken"}, {"get": "/up"}], f"http://{address}", {})

    assert seen.startswith("smoke test 2 of 3, GET /broken: HTTP 500, expected 200; the answer (500) begins: Traceback")
    assert "KeyError" in seen
    assert "\n" not in seen
    assert "\x1b" not in seen
    assert len(seen) < 320
    assert len(asked) == 2


def test_a_smoke_test_that_hangs_is_over_at_its_own_timeout_or_at_the_deadline() -> None:
    with raw(silent) as address:
        patience = within()
        assert "no response within 0.2 s" in smoke([{"get": "/", "timeout": 0.2}], f"http://{address}", {})
        assert "no response within 0" in smoke([{"get": "/"}], f"http://{address}", {}, seconds=0.2)
        assert not patience.passed()

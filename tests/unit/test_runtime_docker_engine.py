"""The edge to the Docker SDK: every error becomes one of ours, every call ends."""

from __future__ import annotations

import inspect
import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
from typing import Any

import docker
import docker.errors
import pytest
import requests
import urllib3

from deployer.app.doctor import examine
from deployer.app.doctor import host as doctor
from deployer.core.clock import SystemClock
from deployer.core.errors import DeadlinePassed, DriverFailed, Refused
from deployer.core.host import Host, Meant
from deployer.drivers.runtime.docker import DockerRuntime, bounds
from deployer.drivers.runtime.docker.bounds import MOST
from deployer.drivers.runtime.docker.engine import Engine, translated
from deployer.drivers.runtime.docker.fleet import DockerFleet
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.manifest.models import Manifest
from tests.house import Scene
from tests.memory import World
from tests.waiting import within

SDK_ERRORS = [error for _, error in inspect.getmembers(docker.errors, inspect.isclass) if issubclass(error, Exception)]
OTHERS = [
    requests.ConnectionError,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.ProtocolError,
    ConnectionResetError,
    BrokenPipeError,
]
SECONDS = 10.0
MANIFEST = Manifest.model_validate({"service": "shop", "image": "shop:1", "port": 80})


def made(error: type[Exception]) -> Exception:
    """Make an instance of any exception class, whatever its constructor asks for."""
    instance = error.__new__(error)
    Exception.__init__(instance, "what the engine said")
    vars(instance).update(response=None, explanation="what the engine said", msg="what the engine said")
    vars(instance).update(name="x", param="x", command="x", image="x", exit_status=1, stderr=b"x", container="x")
    return instance


@pytest.mark.parametrize("error", [*SDK_ERRORS, *OTHERS], ids=lambda error: error.__name__)
def test_every_error_of_the_sdk_is_ours_at_the_edge(error: type[Exception]) -> None:
    with pytest.raises(DriverFailed, match="start shop-r1-1") as failed, translated("start shop-r1-1", "unix:///x", 5):
        raise made(error)
    assert failed.value.__cause__ is not None


@pytest.mark.parametrize(
    "error", [requests.ReadTimeout, requests.ConnectTimeout, urllib3.exceptions.ReadTimeoutError, TimeoutError]
)
def test_a_time_out_says_how_long_it_was(error: type[Exception]) -> None:
    with pytest.raises(DeadlinePassed, match="did not respond within 5 s"), translated("start", "unix:///x", 5):
        raise made(error)


def test_mistakes_of_our_own_are_not_hidden() -> None:
    with pytest.raises(KeyError), translated("start", "unix:///x", 5):
        raise KeyError("ours")


@contextmanager
def deaf_engine() -> Iterator[str]:
    """Listen, and never answer."""
    with tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{folder}/s")
        server.listen()
        yield f"unix://{folder}/s"


def silent(kind: str, **data: Any) -> None:
    """Take the place of the engine's `tell`."""


def test_a_deaf_engine_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with deaf_engine() as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        patience = within()
        with pytest.raises((DeadlinePassed, DriverFailed)), Engine().client("ping", 0.3):
            pytest.fail("connected to an engine that says nothing")
        assert not patience.passed()


@contextmanager
def lying_engine(say: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Answer the question for the version as an engine does, and every other one by `say`."""
    over = threading.Event()

    class Lying(BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError):
                asked = self.request.recv(65536)
                if b"/version" in asked:
                    body = b'{"ApiVersion": "1.45"}'
                    self.request.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
                    self.request.recv(65536)
                say(self.request, over)

    with (
        tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder,
        ThreadingUnixStreamServer(f"{folder}/s", Lying) as server,
    ):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"unix://{folder}/s"
        over.set()
        server.shutdown()


def flood(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not over.is_set():
        client.sendall(b"100000\r\n" + b" " * 0x100000 + b"\r\n")


def drip_body(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
    while not over.wait(0.05):
        client.sendall(b" ")


def drip_headers(client: socket.socket, over: threading.Event) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nx-a: ")
    while not over.wait(0.05):
        client.sendall(b"a")


def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    with lying_engine(flood) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        tracemalloc.start()
        with pytest.raises(DriverFailed, match="is not trusted: its response has more than 64 MiB"):
            DockerRuntime(SystemClock(), "/state", Engine(call=300)).instances("shop")
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 3 * MOST


@pytest.mark.parametrize("drip", [drip_body, drip_headers])
def test_an_answer_that_drips_is_given_up_as_one_that_does_not_come(
    monkeypatch: pytest.MonkeyPatch, drip: Callable[[socket.socket, threading.Event], None]
) -> None:
    with lying_engine(drip) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        began = time.monotonic()
        with pytest.raises(DeadlinePassed, match="did not respond within 1 s"), Engine(call=1).client("look") as client:
            client.info()
        assert time.monotonic() - began < SECONDS


def test_all_calls_of_one_look_have_an_end_together(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(client: socket.socket, over: threading.Event) -> None:
        over.wait(0.3)
        client.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}")

    monkeypatch.setattr(bounds, "ALL", 2)  # so that one call has much time, and all together not
    with lying_engine(slow) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        calls = 0

        def ask(client: docker.DockerClient) -> None:
            nonlocal calls
            for _ in range(1000):
                client.info()
                calls += 1

        with pytest.raises(DeadlinePassed), Engine(call=2).client("look") as client:
            ask(client)
        assert 0 < calls < 15


def test_a_missing_engine_is_refused_before_a_rollout_and_fails_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/socket")
    runtime = DockerRuntime(SystemClock(), "/state")
    with pytest.raises(Refused, match="no Docker engine at unix:///no/such/socket") as refused:
        runtime.resolve(MANIFEST, "shop:1", within(5), silent)
    assert "runtime: process" in refused.value.hint
    with pytest.raises(DriverFailed, match="/no/such/socket"):
        runtime.instances("shop")


def test_an_engine_of_another_user_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(timeout: float, version: str | None) -> docker.DockerClient:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(Refused, match="Permission denied") as refused:
        Engine(refuse).require()
    assert "group" in refused.value.hint


def test_docker_over_ssh_is_refused_with_the_way_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://web1")
    with pytest.raises(Refused, match="no time-outs") as refused:
        DockerRuntime(SystemClock(), "/state").resolve(MANIFEST, "shop:1", within(5), silent)
    assert "ssh -nNT" in refused.value.hint
    assert "/tmp" not in refused.value.hint, "anybody on this host may have put a socket there before"


def test_nothing_of_the_sdk_is_imported_before_it_is_needed() -> None:
    source = "import sys; import deployer.drivers.runtime.docker; sys.exit('docker' in sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", source], cwd=root, timeout=120).returncode == 0


# -- whether containers live on without it


@contextmanager
def talking_engine(**info: Any) -> Iterator[str]:
    """Answer what is asked of an engine by whoever looks whether it is fit."""
    answers = {"_ping": "OK", "version": {"ApiVersion": "1.45"}, "info": info, "containers/json": []}

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = self.path.partition("?")[0]
            body = json.dumps(next(told for end, told in answers.items() if asked.endswith(end))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

        def address_string(self) -> str:
            return "a Unix socket has none"

    with (
        tempfile.TemporaryDirectory(prefix="dp", dir="/tmp") as folder,
        ThreadingUnixStreamServer(f"{folder}/s", Answer) as server,
    ):
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"unix://{folder}/s"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({"LiveRestoreEnabled": False}, [doctor.ENDS_WITH_IT]),
        ({"LiveRestoreEnabled": True}, []),
        ({}, []),
    ],
)
def test_the_doctor_warns_of_an_engine_that_takes_its_containers_along(
    state: Path, monkeypatch: pytest.MonkeyPatch, info: dict[str, Any], told: list[str]
) -> None:
    with talking_engine(**info) as address, Scene(state).house as house:
        monkeypatch.setenv("DOCKER_HOST", address)
        found = [f for f in examine(house, None).findings if f.what == "Docker engine"]

    assert (found[0].level, found[0].text) == ("ok", f"is reachable at {address}")
    assert [f.text for f in found[1:]] == told
    assert all(f.level == "warn" and "daemon.json" in f.remedy for f in found[1:])


def test_hosts_whose_engines_take_their_containers_along_are_named(state: Path) -> None:
    clock, hosts = SystemClock(), tuple(Host(name, "127.0.0.1", "ssh", name) for name in ("web1", "web2"))
    with talking_engine(LiveRestoreEnabled=True) as right, talking_engine(LiveRestoreEnabled=False) as wrong:

        def member(name: str, address: str) -> FleetHost:
            def client(seconds: float, version: str | None) -> docker.DockerClient:
                return docker.DockerClient(address, version, seconds)  # type: ignore[arg-type]

            engine = Engine(client, address)
            return FleetHost(name, engine, DockerRuntime(clock, "store", engine), clock)

        fleet = DockerFleet([member("web1", right), member("web2", wrong)], ["web1", "web2"])
        assert fleet.deadly() == ("web2",)

        with Scene(state).house as house:
            drivers = replace(World().drivers(), runtime=fleet)
            house.find, house.wire = (lambda *_: Meant(hosts)), (lambda *_: drivers)
            wanted = MANIFEST.model_copy(update={"hosts": "web"})
            found = [f for f in examine(house, wanted).findings if f.what == "hosts of web"]

    assert [(f.level, f.text) for f in found] == [
        ("ok", "the engines of web1, web2 are reachable"),
        ("warn", f"web2: {doctor.ENDS_WITH_IT}"),
    ]

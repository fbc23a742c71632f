"""The test app must be what the live tests take it for: both programs, the same behaviour."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.lab import image
from tests.ports import free_port
from tests.waiting import within

HOST = "127.0.0.1"
SECONDS = 30.0  # for a response: on a busy host a process may stand still for some


class Running:
    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process, self.port, self.base = process, port, f"http://{HOST}:{port}"

    def get(self, path: str) -> requests.Response:
        return requests.get(self.base + path, timeout=SECONDS)

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(SECONDS)


@contextmanager
def running(folder: Path, program: str, **env: str) -> Iterator[Running]:
    port = free_port()
    command = image.directory(folder, program)
    surroundings = {"PATH": os.defpath, "PORT": str(port), "HOST": HOST, "VERSION": "1.5", **env}
    with subprocess.Popen(command, cwd=folder, env=surroundings, stderr=subprocess.DEVNULL) as process:
        app = Running(process, port)
        try:
            within().until(lambda: answers(port) or process.poll() is not None, "the test app listens, or has ended")
            yield app
        finally:
            process.kill()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


@pytest.fixture(params=["c", "python"])
def program(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_the_plain_urls(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program) as app:
        assert app.get("/").text.startswith("v=1.5 host=")
        assert app.get("/version").text == "1.5\n"
        assert (app.get("/up").status_code, app.get("/health").status_code) == (200, 200)
        assert app.get("/status?code=404").status_code == 404
        assert app.get("/nothing").headers["X-Version"] == "1.5"
        assert app.get("/stats").json() == {"n": 3, "err": 0, "inflight": 0, "websockets": 0}
        assert requests.head(app.base + "/", timeout=SECONDS).headers["X-Version"] == "1.5"


@pytest.mark.parametrize("size", [0, 1, 100_000, 1 << 20])
def test_post_echoes(tmp_path: Path, program: str, size: int) -> None:
    with running(tmp_path, program) as app:
        assert requests.post(app.base + "/", data=b"x" * size, timeout=SECONDS).content == b"x" * size


def test_slow_answers_do_not_hold_up_others(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program) as app:
        answered: list[int] = []
        slow = threading.Thread(target=lambda: answered.append(status(app, "/slow?ms=600000")))
        slow.start()
        within().until(lambda: app.get("/stats").json()["inflight"] == 1, "the slow request")
        app.get("/")
        assert not answered
        app.process.kill()
        slow.join()
    assert answered == [0]


def status(app: Running, path: str) -> int:
    """Ask for a path; 0 where the app ends before it responds."""
    try:
        return requests.get(app.base + path, timeout=600).status_code
    except requests.exceptions.ConnectionError:
        return 0


def test_behaviour_on_request(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program, HEALTH="0", ERR="1") as app:
        assert app.get("/up").status_code == 503
        assert app.get("/").status_code == 500
        assert app.get("/admin?err=0&health=1").status_code == 200
        assert (app.get("/up").status_code, app.get("/").status_code) == (200, 200)
        with pytest.raises(requests.exceptions.ConnectionError):
            app.get("/exit")
        assert app.process.wait(20) == 3


def statuses(app: Running, count: int, method: str = "GET") -> list[int]:
    with requests.Session() as session:
        return [session.request(method, app.base + "/", data=b"x", timeout=SECONDS).status_code for _ in range(count)]


def test_failing_for_one_method_only(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program, ERR="1", ERR_METHOD="POST") as app:
        assert set(statuses(app, 5)) == {200}
        assert set(statuses(app, 5, "POST")) == {500}


def test_failing_while_a_file_is_there(tmp_path: Path, program: str) -> None:
    outage = tmp_path / "outage"
    with running(tmp_path / "app", program, ERR="1", ERR_WHILE=str(outage)) as app:
        assert set(statuses(app, 3)) == {200}
        outage.touch()
        assert set(statuses(app, 3)) == {500}
        outage.unlink()
        assert set(statuses(app, 3, "POST")) == {200}


def test_failing_beyond_its_capacity(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program, CAPACITY="20") as app:
        began = time.monotonic()
        met = statuses(app, 60)
        room = 20 + 20 * (time.monotonic() - began)  # what it holds at first, and what came in meanwhile
        assert met[:20] == [200] * 20
        assert met.count(200) <= room + 1
        within().until(lambda: statuses(app, 1) == [200], "there is room again")


def test_slow_tail_and_cold_start(tmp_path: Path, program: str) -> None:
    def seconds(app: Running, method: str) -> float:
        began = time.monotonic()
        assert statuses(app, 1, method) == [200]
        return time.monotonic() - began

    with running(tmp_path / "tail", program, TAIL="1", TAIL_MS="200") as app:
        assert min(seconds(app, "GET"), seconds(app, "POST")) >= 0.2

    def third_is_warm() -> bool:
        with running(tmp_path / "cold", program, COLD="2", COLD_MS="300") as app:
            first, second, last = (seconds(app, "GET") for _ in range(3))
        assert min(first, second) >= 0.3
        return last < 0.3

    within(60).until(third_is_warm, "the third request of a start is not slow, where the host does not make it so")


def test_a_short_life(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program, LIFE="300") as app:
        assert app.process.wait(20) == 9


def test_told_to_end_at_once(tmp_path: Path, program: str) -> None:
    command = image.directory(tmp_path, program)
    ended = subprocess.run(command, cwd=tmp_path, env={"EXIT": "7", "VERSION": "2"}, capture_output=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (7, b"v=2 told to end\n")


def test_websocket_echo(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program) as app, connect(f"ws://{HOST}:{app.port}/ws") as socket:
        for size in (0, 1, 125, 126, 65_535, 65_536):
            socket.send(b"x" * size)
            assert socket.recv(timeout=20) == b"x" * size
        assert socket.ping().wait(20)
        assert app.get("/stats").json()["websockets"] == 1


@pytest.mark.parametrize(("drain", "ms", "answered"), [("30000", 3000, 200), ("0", 600_000, 0)], ids=["drains", "cuts"])
def test_a_running_request_at_the_end(tmp_path: Path, program: str, drain: str, ms: int, answered: int) -> None:
    results: list[int] = []
    with running(tmp_path, program, DRAIN=drain) as app:
        slow = threading.Thread(target=lambda: results.append(status(app, f"/slow?ms={ms}")))
        slow.start()
        within().until(lambda: app.get("/stats").json()["inflight"] == 1, "the slow request")
        assert app.end() == 0
        slow.join()
    assert results == [answered]


def test_a_draining_app_says_goodbye_to_websockets(tmp_path: Path, program: str) -> None:
    with running(tmp_path, program, DRAIN="3000") as app, connect(f"ws://{HOST}:{app.port}/ws") as socket:
        app.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


@pytest.mark.live
@pytest.mark.parametrize("compiler", ["gcc", "no compiler"])
def test_the_image_runs(
    engine: docker.DockerClient, compiler: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if compiler == "no compiler":
        monkeypatch.setattr(image, "COMPILE", ("no-such-compiler",))
    image.base.cache_clear()
    request.addfinalizer(image.base.cache_clear)
    name = f"deployer-lab-{os.getpid()}"
    with image.built(f"{name}:1", engine, version="1.5", health=True, user="65534:65534") as identity:
        container = engine.containers.run(identity, detach=True, ports={"8080/tcp": (HOST, 0)})
        try:
            container.reload()
            port = container.attrs["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"]

            def health() -> str:
                container.reload()
                return str(container.attrs["State"]["Health"]["Status"])

            within(90).until(lambda: health() == "healthy", "the health check of the image")
            assert requests.get(f"http://{HOST}:{port}/version", timeout=SECONDS).text == "1.5\n"
        finally:
            container.remove(force=True, v=True)

"""Another user of the machine, in the middle of a rollout: nothing of ours can be read, written or connected to."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.live.conftest import Make
from tests.live.serving import SECONDS as ANSWER_SECONDS
from tests.live.serving import Api, server, token
from tests.live.shop import Shop
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live

NOBODY = 65534
SECONDS = 60.0
# Gives up its rights, then tries everything on each path that it is told; says what worked.
INTRUDER = """
import json, os, socket, stat, sys
paths = json.load(sys.stdin)
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
def connect(path):
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        probe.connect(path)
def read(path):
    os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
def write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
def make(path):
    os.close(os.open(os.path.join(path, "intruder"), os.O_WRONLY | os.O_CREAT, 0o600))
ways = {"connect": connect, "read": read, "write": write, "list": os.listdir, "make": make}
done = []
for path in paths:
    for name, way in ways.items():
        try:
            way(path)
        except OSError:
            continue
        done.append(f"{name} {path}")
print(json.dumps(done))
"""

# Waits for a port like somebody who wants what is sent there; prints each request that it gets.
LURKER = """
import os, socket, sys, time
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
while True:
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind(("127.0.0.1", int(sys.argv[2])))
        server.listen()
        break
    except OSError:
        server.close()
        time.sleep(0.02)
while True:
    client, _ = server.accept()
    print(client.recv(4096).partition(b"\\r")[0].decode(), flush=True)
    client.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n")
    client.close()
"""


def intrude(paths: list[Path]) -> list[str]:
    """Try everything as nobody; return what worked."""
    done = subprocess.run(
        [sys.executable, "-c", INTRUDER, str(NOBODY)],
        input=json.dumps([str(path) for path in paths]),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    return list(json.loads(done.stdout))


@pytest.fixture
def loose(make_shop: Make) -> Iterator[Shop]:
    """Yield a service that is held in a canary, deployed by somebody whose files everybody may write."""
    require("root")
    before = os.umask(0)
    try:
        shop = make_shop("process")
        (shop.folder / "key").write_text("of-the-intruder-test")
        shop.write(judge={"requests": 0}, secrets={"KEY": {"file": "key"}, "TOKEN": {"file": "key", "deliver": "env"}})
        for version in ("1.0", "2.0", "3.0"):
            shop.version(version)
        shop.deploy("up", "--version", "1.0")
        shop.deploy("canary", "--percent", "50", "--for", "1s", "--version", "2.0")  # it leaves a recording
        shop.deploy("canary", "--version", "3.0", "--hold")
        yield shop
    finally:
        os.umask(before)


def everything(shop: Shop) -> list[Path]:
    return [shop.state, *sorted(shop.state.rglob("*"))]


@pytest.mark.long("a service with a canary that is held", every_change=True)
def test_nobody_else_can_do_anything(loose: Shop) -> None:
    paths = everything(loose)
    names = {path.name for path in paths}
    assert {"deployer.db", "master.sock", "requests.sock", "preview.token", "KEY", "spec.json", "r3.json"} <= names
    assert any(path.parent.name == "recordings" for path in paths)
    for folder in (loose.folder.parent, loose.folder):  # of the test; users have theirs open often enough
        folder.chmod(0o755)

    assert intrude(paths) == []

    loose.state.chmod(0o755)  # and if the outer door were open?
    found = intrude(paths)
    loose.state.chmod(0o700)
    assert found == [f"read {loose.state}", f"list {loose.state}"]


def test_a_door_that_is_left_open_is_found(loose: Shop) -> None:
    for folder in (loose.folder.parent, loose.folder, loose.state, loose.state / "proxy"):
        folder.chmod(0o755)
    sock, token = loose.state / "proxy" / "master.sock", loose.state / "proxy" / "preview.token"
    sock.chmod(0o666)
    token.chmod(0o644)

    found = intrude([sock, token])

    assert f"connect {sock}" in found
    assert f"read {token}" in found


def test_a_state_folder_that_was_opened_is_closed_by_the_next_command(loose: Shop) -> None:
    loose.state.chmod(0o755)

    loose.deploy("status")

    assert loose.state.stat().st_mode & 0o777 == 0o700


@pytest.mark.long("an instance that is killed under load", every_change=True)
def test_who_waits_for_the_port_of_an_instance_gets_no_request_when_it_restarts(make_shop: Make) -> None:
    require("root")
    shop = make_shop("process")
    shop.version("1.0")
    shop.deploy("up", "--version", "1.0")
    name, port = next((i["name"], i["address"].rpartition(":")[2]) for i in instances(shop))
    lurker = subprocess.Popen(
        [sys.executable, "-c", LURKER, str(NOBODY), port], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        with Load(shop.url, Options(rate=100, kinds=("fresh",))) as load:
            load.until(lambda now: now.answered > 100, "the load runs")
            status = shop.state / "processes" / name / "status.json"
            program = json.loads(status.read_text())["pid"]
            # The gap that the docs name, until the supervisor has the port again, is not what is tried here.
            os.kill(lurker.pid, signal.SIGSTOP)
            os.kill(program, signal.SIGKILL)
            within().until(lambda: json.loads(status.read_text())["pid"] != program, "the supervisor has the port")
            os.kill(lurker.pid, signal.SIGCONT)
            enough = load.counters().answered + 300
            load.until(lambda now: now.answered > enough, "answers come")
            report = load.stop()
    finally:
        lurker.kill()
        got, _ = lurker.communicate()
    assert got == ""
    assert report.failed <= report.at_once, f"what was running on it, and no more: {report.text()}"
    shop.wait(lambda status: all(i["up"] for e in status["environments"] for i in e["instances"]), "it is back")


def instances(shop: Shop) -> list[dict[str, str]]:
    return [i for e in shop.status()["environments"] for i in e["instances"]]


@pytest.mark.long("5,000 connections")
def test_thousands_of_half_open_connections_keep_nobody_out_of_the_server(process_shop: Shop) -> None:
    """From one address, then from many: strangers are answered, who has a token is, and the server forgets them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    process_shop.version("1.0")
    process_shop.write()
    port = free_port()
    viewer = token(process_shop, "viewer")
    health = f"http://127.0.0.1:{port}/api/v1/health"
    with server(process_shop, port, "--log", "text"), ExitStack() as stack:
        for n in range(5000):
            source = ("127.0.0.1", 0) if n < 2500 else (f"127.1.{n // 100}.{n % 100 + 1}", 0)
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS, source))
            half.sendall(b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\n")
            if n % 500 == 499:
                assert requests.get(health, timeout=ANSWER_SECONDS).status_code == 200, n
                Api(process_shop, port, viewer).get("/services")

"""Protocols through a rollout and back: gRPC, plain TCP, WebSockets, TLS with a certificate beside the manifest."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from deployer.core.clock import Deadline, SystemClock
from tests.live.certificates import certificate
from tests.live.conftest import Make
from tests.live.h2wire import H2Client
from tests.live.shop import COMMAND_SECONDS, Shop
from tests.load import Load, Options
from tests.ports import free_port

pytestmark = pytest.mark.live

PROGRAMS = Path(__file__).parent / "programs"
NAME = "shop.example.com"
CANARY = ("canary", "--percent", "30", "--for", "2s", "--version", "2.0")


@pytest.fixture
def plain(make_shop: Make) -> Shop:
    """Return a service of processes of which nothing is live."""
    return make_shop("process")


def run(shop: Shop, program: str) -> None:
    """Bring out 1.0 of a program, with 2.0 at hand."""
    for version in ("1.0", "2.0"):
        target = shop.folder / "releases" / version
        target.mkdir(parents=True)
        shutil.copy(PROGRAMS / program, target / program)
        (target / "VERSION").write_text(version)  # the same content again would be the same release
    health = {"tcp": True, "interval": "200ms", "deadline": shop.manifest["health"]["deadline"]}
    shop.write(command=[sys.executable, program], health=health)
    shop.deploy("up", "--version", "1.0")


class Steady:
    """One thing that a client does again and again: the versions it met, and what went wrong."""

    def __init__(self, once: Callable[[], str]) -> None:
        self.seen: Counter[str] = Counter()
        self.failures: list[str] = []
        self._once = once
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.wait(0.01):
            try:
                self.seen[self._once()] += 1
            except (OSError, ValueError) as error:
                self.failures.append(repr(error))

    @contextmanager
    def running(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._end.set()
            self._thread.join(40)

    def settled(self, version: str) -> None:
        """Check that only one version is met from here on; one answer may be on its way already."""
        self._more(1)
        before = self.seen.copy()
        self._more(30)
        assert set(self.seen - before) == {version}, self.failures

    def _more(self, count: int) -> None:
        wanted = self.seen.total() + count
        Deadline.after(SystemClock(), 60).until(lambda: self.seen.total() >= wanted, f"{count} more: {self.failures}")


# -- gRPC


@pytest.mark.long("a canary and the way back, under load", every_change=True)
def test_grpc_calls_on_one_channel_go_through_a_canary_and_back(plain: Shop) -> None:
    plain.manifest["traffic"] |= {"protocol": "h2", "sticky": False}
    run(plain, "grpc.py")
    with closing(H2Client(socket.create_connection(("127.0.0.1", plain.port), timeout=30))) as channel:

        def call() -> str:
            status, version, grpc = channel.call()
            if (status, grpc) != ("200", "0"):
                raise ValueError(f"status {status}, grpc-status {grpc!r}")
            return version

        calls = Steady(call)
        with calls.running():
            calls.settled("1.0")
            plain.deploy(*CANARY)
            calls.settled("2.0")
            plain.deploy("rollback")
            calls.settled("1.0")
    assert calls.failures == []


# -- plain TCP


@pytest.mark.long("a canary and the way back, under load", every_change=True)
def test_tcp_through_a_canary_and_back_with_a_connection_that_stays(plain: Shop) -> None:
    plain.manifest["traffic"] |= {"mode": "tcp", "sticky": False, "handover": False}
    run(plain, "echo.py")

    def visit() -> str:
        with socket.create_connection(("127.0.0.1", plain.port), timeout=30) as connection:
            return greeted(connection)

    visits = Steady(visit)
    with socket.create_connection(("127.0.0.1", plain.port), timeout=30) as long, visits.running():
        assert greeted(long) == "1.0"
        visits.settled("1.0")
        plain.deploy(*CANARY)
        visits.settled("2.0")
        echo(long)  # the former instances are warm
        plain.deploy("rollback")
        visits.settled("1.0")
        echo(long)
    assert visits.failures == []


def greeted(connection: socket.socket) -> str:
    """Read the greeting, and have a line echoed; return the version."""
    with connection.makefile("rb") as lines:
        version = lines.readline().decode().strip()
    echo(connection)
    return version


def echo(connection: socket.socket) -> None:
    connection.sendall(b"hello\n")
    got = b""
    while not got.endswith(b"\n"):
        data = connection.recv(100)
        if not data:
            raise ConnectionError(f"closed after {got!r}")
        got += data
    if got != b"hello\n":
        raise ValueError(f"the echo differs: {got!r}")


# -- WebSockets


@pytest.mark.long("a connection that lasts through a canary", every_change=True)
def test_a_websocket_stays_on_its_instance_while_users_move(process_shop: Shop) -> None:
    shop = process_shop
    shop.manifest["traffic"] |= {"handover": False}
    shop.write(judge={"requests": 0})
    shop.version("2.0")
    address = f"ws://127.0.0.1:{shop.port}/ws"
    with connect(address) as older:
        assert spoken(older) == "1.0"
        shop.deploy("canary", "--percent", "50", "--for", "500ms", "--hold", "--version", "2.0")
        assert spoken(older) == "1.0"
        shop.deploy("promote")
        assert spoken(older) == "1.0"
        with connect(address) as newer:
            assert spoken(newer) == "2.0"
            shop.deploy("rollback")
            assert spoken(older) == "1.0"
            with pytest.raises(ConnectionClosed):  # the release before left that to the default
                spoken(newer)


def spoken(connection: ClientConnection) -> str:
    """Have a message echoed; return the version of the instance at the other end."""
    connection.send("hello")
    assert connection.recv(timeout=20) == "hello"
    assert connection.response is not None
    return connection.response.headers["X-Version"]


# -- TLS


@pytest.fixture
def safe(plain: Shop) -> Shop:
    """Return a service behind TLS with 1.0 live; its certificate is beside the manifest, the command elsewhere."""
    certificate(plain.folder / "shop.pem", NAME)
    tls = {"certificates": ["shop.pem"], "listen": f"127.0.0.1:{free_port()}"}
    plain.manifest["traffic"] |= {"domains": [NAME], "tls": tls}
    plain.write()
    plain.version("1.0")
    elsewhere(plain, "up", "--version", "1.0", "-f", str(plain.folder / "deploy.yml"))
    return plain


def elsewhere(shop: Shop, *arguments: str) -> None:
    """Run a command in another folder than the manifest's."""
    done = subprocess.run(
        shop.command(*arguments),
        cwd="/",
        env=shop.environment(),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
    )
    assert done.returncode == 0, done.stderr


def tls_port(shop: Shop) -> int:
    return int(shop.manifest["traffic"]["tls"]["listen"].rpartition(":")[2])


@pytest.mark.long("a canary and the way back, under load")
def test_tls_through_a_canary_and_back_from_another_folder(safe: Shop) -> None:
    safe.version("2.0")
    users = Options(rate=50, kinds=("fresh", "busy", "sticky"), host=NAME, ca=str(safe.folder / "shop.pem"))
    with Load(f"https://127.0.0.1:{tls_port(safe)}", users) as load:
        load.until(lambda now: now.answered > 40, "the load runs")
        safe.deploy(*CANARY)
        load.mark("promoted")
        wanted = load.counters().answered + 60
        load.until(lambda now: now.answered > wanted, "users of 2.0")
        elsewhere(safe, "rollback", "--service", safe.name)
        load.mark("back")
        again = load.counters().answered + 60
        load.until(lambda now: now.answered > again, "users of 1.0")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert report.by_version["2.0"] > 30
    assert set(report.after("back").only("fresh", "busy").by_version) == {"1.0"}


@pytest.mark.long("two deploys")
def test_a_renewed_certificate_is_served_after_the_next_deploy(safe: Shop) -> None:
    before = presented(safe)
    certificate(safe.folder / "shop.pem", NAME)
    safe.deploy("up", "--version", "1.0")
    assert presented(safe) != before
    assert len(safe.events("history")[0]["rollouts"]) == 1, "nothing else was to be done"


def presented(shop: Shop) -> bytes:
    """Shake hands as a client that trusts the file alone, and asks for HTTP/2; return the certificate."""
    context = ssl.create_default_context(cafile=str(shop.folder / "shop.pem"))
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", tls_port(shop)), timeout=10) as bare,
        context.wrap_socket(bare, server_hostname=NAME) as secure,
    ):
        assert H2Client(secure, NAME).call("/any")[0] == "200"
        return secure.getpeercert(binary_form=True) or b""


# -- secrets of processes


@pytest.mark.long("two deploys")
def test_a_secret_reaches_a_process_as_a_private_file(process_shop: Shop) -> None:
    shop, value = process_shop, "open-sesame-66b1f0e27d"
    (shop.folder / "token").write_text(value + "\n")
    shop.write(secrets={"TOKEN": {"file": "token"}, "KEY": {"file": "token", "deliver": "env"}}, replicas=1)
    shop.version("2.0")
    script = shop.folder / "releases" / "2.0" / "run"
    script.write_text('echo "$(wc -c < "$TOKEN_FILE") $(stat -c %a "$TOKEN_FILE") ${#KEY}"\n' + script.read_text())
    events = shop.deploy("bluegreen", "--bake", "0", "--version", "2.0", "--output", "json").stdout
    assert f"{len(value)} 400 {len(value)}" in shop.deploy("logs").stdout
    assert value not in events
    kept = [p for p in shop.state.rglob("*") if p.is_file() and value.encode() in p.read_bytes()]
    assert {p.relative_to(shop.state).parts[0] for p in kept} == {"secrets", "processes"}
    assert {p.stat().st_mode & 0o077 for p in kept} == {0}, [(p.name, oct(p.stat().st_mode)) for p in kept]
    assert (shop.state / "secrets").stat().st_mode & 0o077 == 0

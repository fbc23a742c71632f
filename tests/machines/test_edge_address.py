"""`deploy hosts setup` with an address that moves: the host that has it dies, and users go on at the other one."""

from __future__ import annotations

import itertools
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from deployer.core.clock import SystemClock
from tests.lab.machines import Lab, Machine
from tests.lab.machines.lab import NETWORK
from tests.machines.box import within
from tests.machines.conftest import deploy, write_inventory
from tests.services import require

pytestmark = pytest.mark.live
CLOCK = SystemClock()
EDGE = ("edge1", "edge2")
ADDRESS, PORT = f"{NETWORK}.200", 8080
Fault = Callable[[Lab, str], AbstractContextManager[None]]
ENTRY = f"""\
frontend deployer_http_any_{PORT}
  mode http
  timeout client 5s
  bind *:{PORT}
  http-request return status 200 content-type text/plain lf-string "%[hostname]"
"""
PAUSE = "import socket; s = socket.socket(socket.AF_UNIX); s.connect('/run/haproxy-master.sock');"
PAUSE += "s.sendall(b'@1 {} frontend deployer_http_any_8080\\n'); s.shutdown(1); print(s.recv(4096).decode())"


class Users:
    """Somebody who asks at the address all the time, by a new connection each time."""

    def __init__(self) -> None:
        self.answers: list[tuple[float, str]] = []  # when, by whom
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(4)]

    def __enter__(self) -> Users:
        for thread in self._threads:
            thread.start()
        self.meet("the first response")
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(20)

    def _ask(self) -> None:
        while not self._end.wait(0.02):
            try:
                with socket.create_connection((ADDRESS, PORT), timeout=0.3) as connection:
                    connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                    text = connection.recv(4096).decode()
            except OSError:
                continue
            if text.startswith("HTTP/1.1 200"):
                self.answers.append((time.monotonic(), text.rsplit("\r\n", 1)[-1].strip()))

    def meet(self, what: str, other: str = "") -> str:
        """Wait for a response from now on, of another host than this; return by which."""
        before = len(self.answers)
        within().until(lambda: any(who != other for _, who in self.answers[before:]), what)
        return next(who for _, who in self.answers[before:] if who != other)

    def longest(self, since: float) -> float:
        """The longest time without a response since a moment."""
        times = [since, *(at for at, _ in self.answers if at >= since)]
        return max(later - earlier for earlier, later in itertools.pairwise(times))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    require("machines", "ansible", "haproxy", "keepalived")
    with Lab(dict.fromkeys(EDGE, ("haproxy",))) as made, made.entered(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inventory(made, folder / "inventory", {"web": (), "edge": EDGE})
        with (folder / "inventory/group_vars/all.yml").open("a") as file:
            file.write(f"edge_address: {ADDRESS}/24\nedge_interface: eth0\n")
        setup = ("hosts", "setup", "-i", "inventory", "--limit", "edge", "--yes")
        deploy(folder, *setup)
        for edge in EDGE:
            (made[edge].root / "etc/haproxy/deployer.d/lab.cfg").write_text(ENTRY)
            made[edge].run("systemctl", "restart", "haproxy")
        yield made


@pytest.fixture
def users(lab: Lab) -> Iterator[Users]:
    for edge in EDGE:
        within().until(lambda edge=edge: fit(lab[edge]), f"{edge} is fit")  # type: ignore[misc]
    with Users() as made:
        yield made
    lab.heal()


def fit(machine: Machine) -> bool:
    return not machine.run("runuser", "-u", "deploy", "--", "/etc/deployer/edge_check.py", check=False).returncode


@contextmanager
def dead(lab: Lab, name: str) -> Iterator[None]:
    lab[name].kill()
    try:
        yield
    finally:
        lab[name].start()
        lab[name].wait()


@contextmanager
def without_proxy(lab: Lab, name: str) -> Iterator[None]:
    lab[name].run("systemctl", "kill", "--signal=KILL", "haproxy")
    lab[name].run("systemctl", "stop", "haproxy")
    try:
        yield
    finally:
        lab[name].run("systemctl", "reset-failed", "haproxy", check=False)
        lab[name].run("systemctl", "start", "haproxy")


@contextmanager
def taken_out(lab: Lab, name: str) -> Iterator[None]:
    lab[name].run("python3", "-c", PAUSE.format("disable"))
    try:
        yield
    finally:
        lab[name].run("python3", "-c", PAUSE.format("enable"))


@contextmanager
def cut_off(lab: Lab, name: str) -> Iterator[None]:
    lab.cut(name)
    try:
        yield
    finally:
        lab.heal()


@pytest.mark.parametrize("fault", [dead, cut_off, without_proxy, taken_out], ids=lambda fault: fault.__name__)
def test_users_go_on_at_the_other_host(lab: Lab, users: Users, fault: Fault) -> None:
    holder = users.meet("a response")
    began = time.monotonic()
    with fault(lab, holder):
        other = users.meet("a response of the other host", other=holder)
        assert other != holder
        print(f"{fault.__name__}: {users.longest(began):.2f} s without a response")
    back = time.monotonic()
    within().until(lambda: fit(lab[holder]), f"{holder} is fit again")
    assert users.meet("a response after it is back") == other, "it stays where it is"
    print(f"after the return: {users.longest(back):.2f} s without a response")

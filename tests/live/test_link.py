"""What goes over ssh, by a real ssh to a real sshd, when the cable between them is cut, comes back, or never was there.

The three users of it stand beside each other: the tunnel to a Docker engine, the channel to a proxy, and `--on`.
"""

from __future__ import annotations

import gc
import getpass
import os
import shlex
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deployer.client.calls import Calls
from deployer.client.control import Control
from deployer.client.ssh import Channels, session_over
from deployer.core.clock import SystemClock
from deployer.core.errors import DeadlinePassed, DeployError, NoServer, Refused, Unreachable
from deployer.core.host import Host
from deployer.drivers.runtime.docker import ssh_engine
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.engine_pool import READ_SECONDS
from deployer.drivers.runtime.docker.ssh_engine import SshEngine
from deployer.drivers.traffic.proxies.proxy_pool import PREPARED
from deployer.drivers.traffic.proxies.remote_proxy import RemoteProxy
from deployer.transport import ssh
from deployer.transport.greeting import Greeting
from deployer.transport.timeouts import QUICK
from tests.live.cable import Cable, cable
from tests.live.laptop import SSHD_PATH
from tests.live.sshd import Sshd, sshd
from tests.services import DEFAULT_HOST, require
from tests.waiting import within

# Docker's client leaves a socket to the collector that it could not connect (docker.transport.unixconn).
pytestmark = [pytest.mark.live, pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")]

CLOCK = SystemClock()
SOON = 20.0  # seconds for what only has to be noticed
GIVEN_UP = 40.0  # seconds after which the longest of them must have given up: a keep-alive, then what is tried again
FAILED = (Unreachable, Refused, DeadlinePassed)


@dataclass
class Link:
    """One user of ssh to the other end of a cable: `ask` it something small, `close` it."""

    ask: Callable[[], object]
    close: Callable[[], None]


class End:
    """The far end: a host with an sshd behind a cable."""

    def __init__(self, way: Sshd, line: Cable, folder: Path) -> None:
        self.way, self.line, self.folder = way, line, folder

    @property
    def host(self) -> Host:
        words = tuple(shlex.split(self.way.args))
        return Host("web1", self.way.host, "ssh", self.way.host, self.line.port, getpass.getuser(), ssh_args=words)

    def link(self, kind: str, host: Host | None = None) -> Link:
        host = host or self.host
        if kind == "engine":
            far = SshEngine(host, CLOCK)
            engine = Engine(far.connect, host.name, READ_SECONDS)
            return Link(engine.ping, far.close)
        if kind == "proxy":
            settings = PREPARED.model_copy(update={"config": str(self.folder), "socket": f"{self.folder}/none.sock"})
            proxy = RemoteProxy(host, settings, CLOCK)
            return Link(proxy.inspection.services, proxy.close)
        return self._control(host)

    def _control(self, host: Host) -> Link:
        """Begin when it is asked first, as the others do."""
        url = f"ssh://{host.user}@{host.ssh_host}:{host.port}{self.folder}"
        control, made = Control.of(url, "--on", shlex.join(host.ssh_args)), list[tuple[Channels, Calls]]()

        def ask() -> object:
            if not made:
                channels = Channels(control, Greeting("ann", "laptop", folder=control.folder), CLOCK)
                made.append((channels, Calls(control, session_over(channels), CLOCK)))
            return made[0][1].get("/services")

        def close() -> None:
            for channels, calls in made:
                calls.close()
                channels.close()

        return Link(ask, close)

    def alone(self) -> None:
        """Wait until no connection is left there."""
        within(60).until(lambda: not self.way.sessions(), "no connection is left at the far end")


@pytest.fixture
def end(state: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[End]:
    require("sshd", "root")
    engine = os.environ.get("DOCKER_HOST", DEFAULT_HOST).removeprefix("unix://")
    monkeypatch.setattr(ssh_engine, "SOCKET", engine)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(state))  # where the folder of a tunnel is made
    conf = state / "conf"
    conf.mkdir()
    with sshd(state, {"PATH": SSHD_PATH, "DEPLOYER_STATE": str(state / "far")}) as way, cable(way.port) as line:
        known = way.keys / "known_hosts"
        known.write_text(known.read_text() + f"[{way.host}]:{line.port} {(way.keys / 'host.pub').read_text()}")
        yield End(way, line, conf)


@pytest.fixture(params=["engine", "proxy", "on"])
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "engine":
        require("docker")
    return str(request.param)


@pytest.fixture
def link(end: End, kind: str) -> Iterator[Link]:
    made = end.link(kind)
    yield made
    made.close()
    gc.collect()  # what docker's client left of connections that it could not make: not into the next test


def fails(ask: Callable[[], object], seconds: float) -> DeployError:
    """Ask, and give the error that it must raise in time."""
    began = time.monotonic()
    with pytest.raises(FAILED) as caught:
        ask()
    assert time.monotonic() - began < seconds, caught.value
    return caught.value


def until_it_answers(ask: Callable[[], object]) -> None:
    def answers() -> bool:
        with suppress(*FAILED):
            ask()
            return True
        return False

    within(120).until(answers, "it answers again")


# -- while it goes on


def test_one_connection_serves_all_questions_and_none_is_left(end: End, link: Link) -> None:
    link.ask()
    there = set(end.way.sessions())
    for _ in range(3):
        link.ask()
    assert set(end.way.sessions()) == there
    link.close()
    end.alone()


@pytest.mark.long("keep-alives that are not answered", every_change=("proxy",))
def test_a_cable_that_is_cut_is_noticed_and_one_that_is_back_is_used_again(end: End, link: Link) -> None:
    link.ask()
    end.line.cut()
    assert fails(link.ask, GIVEN_UP).message
    fails(link.ask, GIVEN_UP)
    end.line.heal()
    until_it_answers(link.ask)
    link.close()
    end.alone()


@pytest.mark.long("requests that are repeated", every_change=True)
def test_connections_that_are_ended_over_there_are_made_again(end: End, link: Link) -> None:
    link.ask()
    assert end.way.kill_sessions()
    until_it_answers(link.ask)


def test_a_connection_that_is_closed_while_the_cable_is_cut_keeps_nobody_waiting(end: End, link: Link) -> None:
    link.ask()
    end.line.cut()
    began = time.monotonic()
    link.close()
    assert time.monotonic() - began < SOON
    end.line.heal()
    end.alone()


@pytest.mark.long("another process for each of the three", every_change=("on",))
def test_what_was_killed_leaves_no_connection_and_no_folder(end: End, kind: str, state: Path) -> None:
    """Its ssh ends with it, however it ended."""
    before = set(state.glob("dp*"))
    script = f"""
        import sys, time
        from pathlib import Path
        from deployer.drivers.runtime.docker import ssh_engine
        from tests.live.cable import Cable
        from tests.live.sshd import Sshd
        from tests.live.test_link import End
        ssh_engine.SOCKET = {vars(ssh_engine)["SOCKET"]!r}
        line = Cable.__new__(Cable)
        line.port = {end.line.port}
        way = Sshd({end.way.host!r}, 0, Path({str(end.way.keys)!r}), 0)
        far = End(way, line, Path({str(end.folder)!r}))
        link = far.link({kind!r})
        link.ask()
        print("asked", flush=True)
        time.sleep(600)
        """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(script)], stdout=subprocess.PIPE, text=True) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "asked\n"
            assert end.way.sessions()
        finally:
            os.kill(owner.pid, signal.SIGKILL)
    end.alone()
    within(60).until(lambda: set(state.glob("dp*")) == before, "its folder is gone")


@pytest.mark.long("keep-alives that are not answered")
def test_a_connection_to_a_proxy_that_is_kept_serves_the_next_and_is_made_again(end: End, state: Path) -> None:
    settings = PREPARED.model_copy(update={"config": str(end.folder), "socket": f"{end.folder}/none.sock"})
    socket = ssh.shared_socket(state / "emergency", end.host)
    assert socket

    def proxy() -> RemoteProxy:
        return RemoteProxy(end.host, settings, CLOCK, socket)

    def asked_and_closed() -> None:
        one = proxy()
        try:
            one.inspection.services()
        finally:
            one.close()

    try:
        asked_and_closed()
        kept = set(end.way.sessions())
        assert kept
        asked_and_closed()
        way = [*ssh.line(end.host, QUICK, *ssh.shared(socket)), "echo there"]  # as an emergency goes
        assert subprocess.run(way, capture_output=True, timeout=SOON, check=True).stdout == b"there\n"
        assert set(end.way.sessions()) == kept
        end.line.cut()
        fails(asked_and_closed, GIVEN_UP)
        end.line.heal()
        until_it_answers(asked_and_closed)
    finally:
        subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "any"], capture_output=True, timeout=SOON)
    end.alone()


# -- when there is no way from the start: one wording for all three


@pytest.mark.long("connections that are waited for in vain", every_change=("engine",))
def test_a_host_that_says_nothing_is_given_up(end: End, link: Link) -> None:
    end.line.cut()
    assert "it does not respond: " in fails(link.ask, GIVEN_UP).message
    end.line.heal()
    until_it_answers(link.ask)


def test_nothing_listens_there(end: End, kind: str) -> None:
    end.line.close()
    link = end.link(kind)
    assert "nothing listens for ssh there: " in fails(link.ask, SOON).message
    link.close()


def test_a_key_that_is_not_let_in(end: End, kind: str) -> None:
    (end.way.keys / "user.pub").write_text((end.way.keys / "host.pub").read_text())
    link = end.link(kind)
    assert "it refuses this user and key: " in fails(link.ask, SOON).message
    link.close()


def test_a_host_with_another_key_than_before(end: End, kind: str) -> None:
    (end.way.keys / "known_hosts").write_text(
        f"[{end.way.host}]:{end.line.port} {(end.way.keys / 'user.pub').read_text()}"
    )
    link = end.link(kind)
    assert "its host key has changed: " in fails(link.ask, SOON).message
    link.close()


def test_a_name_that_nobody_knows(end: End, kind: str) -> None:
    link = end.link(kind, replace(end.host, ssh_host="no-such-host.invalid"))
    assert "its name cannot be resolved: " in fails(link.ask, SOON).message
    link.close()


def test_an_ssh_that_cannot_be_started(end: End, kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    link = end.link(kind)
    assert "ssh cannot be started: it is not on PATH" in fails(link.ask, SOON).message
    link.close()


def test_a_control_host_that_was_never_reached_was_given_nothing_to_do(end: End) -> None:
    end.line.close()
    assert isinstance(fails(end.link("on").ask, SOON), NoServer)

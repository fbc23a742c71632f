"""A Swarm of the tests' own: engines in network namespaces, which no other test and nobody else asks."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket as sockets
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import docker
import docker.errors

from deployer.core.clock import SystemClock
from deployer.drivers.runtime.docker.bounds import bound
from deployer.drivers.runtime.docker.engine import Engine
from deployer.drivers.runtime.docker.fleet_host import FleetHost
from deployer.drivers.runtime.docker.runtime import DockerRuntime
from tests.lab.machines.lab import standing
from tests.lab.machines.programs import PATH, call
from tests.waiting import within

HEARTBEAT = 2_000_000_000  # nanoseconds: a node is given up after 5 s and not after 12
ADDRESS = "10.214.0.1"


class OwnEngine:
    """An engine in a network namespace: its socket, how a thread comes to stand there, and how it is killed."""

    def __init__(self, folder: Path, netns: str, options: Sequence[str] = ()) -> None:
        self.socket, self.netns = f"unix://{folder}/docker.sock", netns
        self._folder, self._options = folder, options
        self._process: subprocess.Popen[bytes] | None = None

    def entered(self) -> AbstractContextManager[None]:
        """Let this thread, and what it starts meanwhile, stand where the engine publishes ports."""
        return standing(f"/run/netns/{self.netns}")

    def start(self) -> None:
        """Start it, where it does not run, and wait until it answers."""
        if self._process is None or self._process.poll() is not None:
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [*_dockerd(self.socket, self.netns, self._folder), *self._options],
                    stdout=log,
                    stderr=log,
                    env={**os.environ, "PATH": PATH},
                )
        within(60).until(lambda: _answers(self.socket), f"the engine answers: {self._folder / 'log'}")

    def kill(self) -> None:
        """SIGKILL: the engine alone, and not what holds its containers."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)

    def stop(self) -> None:
        """Let it end."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)


@contextmanager
def one_node() -> Iterator[OwnEngine]:
    """Yield an engine that is a Swarm."""
    with own_engine() as engine:
        with client(engine.socket) as asked:
            asked.swarm.init(advertise_addr=ADDRESS, listen_addr=ADDRESS, dispatcher_heartbeat_period=HEARTBEAT)
            within(60).until(lambda: ready(asked) == 1, "the node is ready")
        yield engine


@contextmanager
def own_engine(*options: str) -> Iterator[OwnEngine]:
    """Run an engine with an address of its own, and these options; nothing of it is left."""
    folder = Path(tempfile.mkdtemp(prefix="dps", dir="/tmp"))
    engine = OwnEngine(folder, f"dpswarm-{secrets.token_hex(4)}", options)
    call("ip", "netns", "add", engine.netns)
    try:
        call("ip", "-n", engine.netns, "link", "set", "lo", "up")
        call("ip", "-n", engine.netns, "link", "add", "eth0", "type", "bridge")
        call("ip", "-n", engine.netns, "addr", "add", f"{ADDRESS}/24", "dev", "eth0")
        call("ip", "-n", engine.netns, "link", "set", "eth0", "up")
        try:
            engine.start()
            yield engine
        finally:
            engine.stop()
    finally:
        call("ip", "netns", "delete", engine.netns)
        _unmounted(folder)
        shutil.rmtree(folder)


def _dockerd(socket: str, netns: str, folder: Path) -> list[str]:
    return [
        *("setpriv", "--pdeathsig", "TERM", "nsenter", f"--net=/run/netns/{netns}", "dockerd"),
        *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/run", "--pidfile", f"{folder}/pid"),
        *("-H", socket),
    ]


def _answers(socket: str) -> bool:
    try:
        with closing(sockets.socket(sockets.AF_UNIX)) as asked:
            asked.settimeout(2)
            asked.connect(socket.removeprefix("unix://"))
            asked.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b"OK" in asked.recv(4096)
    except OSError:
        return False


def _unmounted(folder: Path) -> None:
    """Take away what the engine has mounted in its folder."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    for place in sorted((m for m in mounts if m.startswith(f"{folder}/")), reverse=True):
        call("umount", "-l", place)


def begin(sockets: Sequence[str], addresses: Sequence[str]) -> None:
    """Make a Swarm of managers; the first one begins it."""
    with client(sockets[0]) as first:
        first.swarm.init(advertise_addr=addresses[0], listen_addr=addresses[0], dispatcher_heartbeat_period=HEARTBEAT)
        token = first.swarm.attrs["JoinTokens"]["Manager"]
        for socket, own in zip(sockets[1:], addresses[1:], strict=True):
            with client(socket) as joining:
                joining.swarm.join([addresses[0]], token, advertise_addr=own, listen_addr=own)
        within(60).until(lambda: ready(first) == len(sockets), f"{len(sockets)} nodes are ready")


def ready(asked: docker.DockerClient) -> int:
    """Count the nodes that are ready; none where the managers have no leader yet."""
    try:
        return sum(node.attrs["Status"]["State"] == "ready" for node in asked.nodes.list())
    except docker.errors.APIError:
        return 0


@contextmanager
def client(socket: str) -> Iterator[docker.DockerClient]:
    """Yield a client of an engine."""
    made = docker.DockerClient(base_url=socket, timeout=60)
    try:
        yield made
    finally:
        made.close()


def link(socket: str, installation: str, name: str = "") -> FleetHost:
    """Return the link to an engine, as the deployer has one to a node."""

    def connect(timeout: float, version: str | None) -> docker.DockerClient:
        made = docker.DockerClient(base_url=socket, timeout=timeout, version=version)  # type: ignore[arg-type]
        bound(made, timeout)
        return made

    clock, engine = SystemClock(), Engine(connect, socket)
    return FleetHost(name, engine, DockerRuntime(clock, installation, engine), clock)

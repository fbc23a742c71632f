"""Commands of `deploy` without the start of Python: forked by a process that has imported everything.

`python -m tests.forked SOCKET` is that process. Each connection is a command: its arguments, environment and folder
come with its standard streams; its exit code is the answer. Who closes the connection before that kills it. What is
forked ends as any Python does, with what is to be done at exit. What only a start of its own can show (what is
imported, how long that takes, signals to a process id) needs the real command.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

# Stands where ssh would run `deploy serve --stdio`. Without `site` it starts in a few milliseconds. What is given as
# its second word is run first at the other end.
CLIENT = """
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as end:
    end.connect(sys.argv[1])
    told = {"first": "".join(sys.argv[2:]), "arguments": ["deploy", "serve", "--stdio"],
            "environ": dict(os.environ), "folder": os.getcwd(), "session": True}
    data = json.dumps(told).encode()
    socket.send_fds(end, [len(data).to_bytes(4, "little")], [0, 1, 2])
    end.sendall(data)
    for number in (0, 1, 2):
        os.close(number)
    code = end.recv(1)
os._exit(code[0] if code else 255)
"""
ASKING_SECONDS = 60.0  # on a busy host a process may stand still for some
SLOW = (  # to import
    "ansible_runner",
    "docker",
    "requests",
    "deployer.app.local",
    "deployer.app.wiring",
    "deployer.cli.deploy",
    "deployer.cli.serve",
    "deployer.engine.perform",
    "deployer.server.stdio",
)


@contextmanager
def forking(path: Path) -> Iterator[Path]:
    """Keep the process that forks, on a socket at this path, in the network namespace of this thread."""
    command = [sys.executable, "-m", "tests.forked", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield path
        process.stdin.close()


class Forks:
    """Runs commands in forks of one process, which starts with the first of them.

    A command runs in the network namespace that its caller stands in: for each there is a process of its own.
    """

    def __init__(self) -> None:
        self._open = ExitStack()
        self._sockets: dict[int, Path] = {}  # by the network namespace

    def run(
        self, command: Sequence[str], *, cwd: Path, env: Mapping[str, str], timeout: float
    ) -> subprocess.CompletedProcess[str]:
        """Do what `subprocess.run` does that captures text; raise TimeoutExpired after it was killed."""
        door = self._door()
        told = {"first": "", "arguments": list(command), "environ": dict(env), "folder": str(cwd), "session": False}
        with socket.socket(socket.AF_UNIX) as end, Path(os.devnull).open() as nothing:
            end.connect(str(door))
            read, write = zip(os.pipe(), os.pipe(), strict=True)
            ask(end, told, [nothing.fileno(), *write])
            for descriptor in write:
                os.close(descriptor)
            until = time.monotonic() + timeout
            output, errors = _read(read, until, command, timeout)
            end.settimeout(max(0.001, until - time.monotonic()))
            try:
                code = end.recv(2)
            except TimeoutError:
                raise subprocess.TimeoutExpired(list(command), timeout, output.encode(), errors.encode()) from None
        return subprocess.CompletedProcess(
            list(command), int.from_bytes(code, "little", signed=True) if code else -signal.SIGKILL, output, errors
        )

    def _door(self) -> Path:
        here = Path("/proc/thread-self/ns/net").stat().st_ino
        if not self._sockets:
            atexit.register(self.close)
        if here not in self._sockets:
            folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="dp", dir="/tmp"))
            self._sockets[here] = self._open.enter_context(forking(Path(folder) / "forks"))
        return self._sockets[here]

    def close(self) -> None:
        """End the processes; what they forked is killed."""
        self._open.close()
        self._sockets.clear()


FORKS = Forks()


def ask(end: socket.socket, told: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    """Ask for a command: the length of what is told, with the standard streams, then what is told."""
    data = json.dumps(told).encode()
    socket.send_fds(end, [len(data).to_bytes(4, "little")], descriptors)
    end.sendall(data)


def _read(descriptors: Sequence[int], until: float, command: Sequence[str], timeout: float) -> tuple[str, str]:
    """Read both pipes to their ends and close them."""
    found = {descriptor: bytearray() for descriptor in descriptors}
    left = set(descriptors)
    try:
        while left:
            ready = select.select(left, [], [], max(0.0, until - time.monotonic()))[0]
            if not ready:
                raise subprocess.TimeoutExpired(list(command), timeout, *map(bytes, found.values()))
            for descriptor in ready:
                if piece := os.read(descriptor, 1 << 16):
                    found[descriptor] += piece
                else:
                    left.discard(descriptor)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    output, errors = (piece.decode(errors="replace") for piece in found.values())
    return output, errors


# -- the process that forks


def main() -> int:
    """Fork for each connection, until stdin ends."""
    _import_what_is_slow()
    gc.freeze()  # or each fork would copy all of it when it ends
    running: dict[int, tuple[socket.socket, int]] = {}  # by the descriptor of the process
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(sys.argv[1])
        listening.listen(64)
        os.write(1, b"ready\n")
        while True:
            clients = {connection.fileno(): pid for connection, pid in running.values()}
            ready = set(select.select([0, listening.fileno(), *running, *clients], [], [])[0])
            for process in ready & running.keys():
                connection, pid = running.pop(process)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                _answer(connection, code)
                os.close(process)
            for client in ready & clients.keys():
                if (pid := clients[client]) in {pid for _, pid in running.values()}:
                    os.kill(pid, signal.SIGKILL)
            if 0 in ready:
                for _, pid in running.values():
                    os.kill(pid, signal.SIGKILL)
                return 0
            if listening.fileno() in ready:
                connection, _ = listening.accept()
                if (asked := received(connection)) is None:
                    continue
                told, descriptors = asked
                if (pid := os.fork()) == 0:
                    for process, (other, _) in running.items():
                        other.close()
                        os.close(process)
                    connection.close()
                    break
                for descriptor in descriptors:
                    os.close(descriptor)
                running[os.pidfd_open(pid)] = connection, pid
    return _command(told, descriptors)


def _import_what_is_slow() -> None:
    for name in SLOW:
        importlib.import_module(name)


def received(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """Return what is asked, and the standard streams; None from somebody who was killed before he could ask."""
    connection.settimeout(ASKING_SECONDS)
    data, descriptors = bytearray(), list[int]()
    with suppress(TimeoutError, ConnectionError):
        length, descriptors, _, _ = socket.recv_fds(connection, 4, 3)
        missing = int.from_bytes(length, "little")
        while missing and (piece := connection.recv(missing)):
            data += piece
            missing -= len(piece)
        if data and not missing:
            return json.loads(data), descriptors
    for descriptor in descriptors:
        os.close(descriptor)
    connection.close()
    return None


def _answer(connection: socket.socket, code: int) -> None:
    with connection, suppress(BrokenPipeError):  # who asked may have gone
        connection.send(code.to_bytes(2, "little", signed=True))


def _command(told: Mapping[str, Any], descriptors: Sequence[int]) -> int:
    """Become the command."""
    if told["session"]:
        os.setsid()
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(told["folder"])
    os.environ.clear()
    os.environ.update(told["environ"])
    time.tzset()
    sys.argv = list(told["arguments"])
    exec(told["first"])
    from deployer import start

    return start.main()


if __name__ == "__main__":
    sys.exit(main())

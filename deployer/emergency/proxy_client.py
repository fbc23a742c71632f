"""The master socket with the C module alone: `import socket` takes longer than a rollback."""

from __future__ import annotations

import _socket
import time

ANSWER_WITHIN = 1.0  # seconds for one command
NO_INSTANCES = ("wait", "beside", "waker")  # servers of a backend that are none
RETRY_FOR = 2.0  # the master refuses for some milliseconds after a start or a reload


class Silent(Exception):
    """Nobody answers, or not what was asked."""


class MasterClient:
    """Runs commands on the workers of a HAProxy (management guide, section 9.4)."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._until = time.monotonic() + RETRY_FOR

    def workers(self) -> tuple[list[str], list[str]]:
        """List the process ids of workers: those that take new connections, and those that a reload replaced."""
        current: list[str] = []
        old: list[str] = []
        into = current
        for line in self.ask("show proc").splitlines():
            if line.startswith("#"):
                into = old if line.startswith("# old") else current
            elif len(words := line.split()) > 1 and words[1] == "worker":
                into.append(words[0])
        return current, old

    def get(self, worker: str, map_: str, key: str) -> str:
        """Ask a worker for the value of a key; "" when it has none."""
        reply = self.ask(f"@!{worker} get map {map_} {key}")
        if "found=yes" not in reply:
            return ""
        return reply.partition('value="')[2].partition('"')[0]

    def put(self, worker: str, map_: str, key: str, value: str) -> None:
        """Write the value of a key and read it back. Raises Silent when another one stands there."""
        reply = self.ask(f"@!{worker} set map {map_} {key} {value}").strip()
        if self.get(worker, map_, key) != value:
            raise Silent(f"worker {worker} did not take {value}: {reply}")

    def up(self, worker: str, backend: str) -> tuple[list[str], list[str]]:
        """Name the servers of a backend: those that get requests, and the others."""
        up: list[str] = []
        down: list[str] = []
        for line in self.ask(f"@!{worker} show stat {backend} 4 -1").splitlines():
            row = line.split(",", 18)  # svname and status stand before any field that could be quoted
            if len(row) > 17 and not line.startswith("#") and row[1] not in NO_INSTANCES:
                (up if row[17].startswith("UP") or row[17] == "no check" else down).append(row[1])
        return up, down

    def ask(self, command: str) -> str:
        """Run a command, give what it printed. Raises Silent when nobody answers in time."""
        while True:
            try:
                reply = self._ask(command)
            except OSError as error:
                if isinstance(error, TimeoutError) or time.monotonic() > self._until:
                    raise Silent(f"{self._path}: {error}") from None
                time.sleep(0.005)
                continue
            if reply:
                return reply
            if time.monotonic() > self._until:
                raise Silent(f"{self._path}: no response to {command}")
            time.sleep(0.005)

    def _ask(self, command: str) -> str:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(ANSWER_WITHIN)
            connection.connect(self._path)
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(_socket.SHUT_WR)  # the master never closes first
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        finally:
            connection.close()
        return b"".join(chunks).decode(errors="replace")

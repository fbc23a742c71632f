"""The master socket: the way to every worker, also to old ones that still serve after a reload."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.core.retrying import retry

ANSWER_WITHIN = 5.0  # seconds for one command
OLD_WITHIN = 1.0  # the same for an old worker: it may end at any moment, and then 2.8 gives no answer at all

T = TypeVar("T")


@dataclass(frozen=True)
class Worker:
    """A process of the proxy that serves users; an old one was replaced by a reload and finishes what it has."""

    pid: int
    old: bool


class MasterSocket:
    """Runs commands on the master and, through it, on workers. Raises DriverFailed when nobody answers."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.path = path
        self._clock = clock

    def ask(self, command: str, deadline: Deadline | None = None, within: float = ANSWER_WITHIN) -> str:
        """Run a command and give what it printed.

        The master refuses or resets for some milliseconds after a start or a reload: such calls are repeated.
        """
        limit = deadline or Deadline.after(self._clock, ANSWER_WITHIN)
        try:
            return retry(partial(self._ask, command, within, limit), limit, _refused)
        except TimeoutError:
            raise DriverFailed(f"{self.path}: no response to `{_shown(command)}`", "see the log of the proxy") from None
        except OSError as error:
            raise DriverFailed(f"{self.path}: {error.strerror or error}", "is the proxy running?") from None

    def answers(self) -> bool:
        """Return whether a master listens, without waiting for one."""
        try:
            self._ask("show version", 1.0, Deadline.after(self._clock, 1.0))
        except OSError:
            return False
        return True

    def workers(self, deadline: Deadline | None = None) -> tuple[Worker, ...]:
        """List the workers, current ones first."""
        found, old = [], False
        for line in self.ask("show proc", deadline).splitlines():
            if line.startswith("#"):
                old = line.startswith("# old")
            elif match := _process(line, "worker"):
                found.append(Worker(match, old))
        return tuple(sorted(found, key=lambda w: w.old))

    def pid(self, deadline: Deadline | None = None) -> int:
        """Return the process of the master itself."""
        for line in self.ask("show proc", deadline).splitlines():
            if process := _process(line, "master"):
                return process
        raise DriverFailed(
            f"{self.path}: no master process is reachable there", "give the master socket (-S) of your HAProxy"
        )

    def current(self, deadline: Deadline | None = None) -> tuple[Worker, ...]:
        """List the workers that take new connections. Raises DriverFailed when there is none."""
        workers = tuple(w for w in self.workers(deadline) if not w.old)
        if not workers:
            raise DriverFailed(f"{self.path}: the proxy has no worker", "see the log of the proxy")
        return workers

    def run(self, worker: Worker, command: str, deadline: Deadline | None = None, *, first: str = "") -> str:
        """Run a command on a worker, after what the master is to do `first`.

        Raise Gone for one that has ended, as one does that a reload replaces.
        """
        within = OLD_WITHIN if worker.old else ANSWER_WITHIN
        try:
            text = self.ask(f"{first}@!{worker.pid} {command}", deadline, within)
        except (DriverFailed, DeadlinePassed):
            if worker not in self.workers(deadline):
                raise Gone(worker) from None
            raise
        if text.startswith("Can't find the target"):
            raise Gone(worker)
        return text

    def set_variable(self, worker: Worker, name: str, value: int, deadline: Deadline | None = None) -> None:
        """Set a variable of a worker's process. Raises Gone for one that has ended."""
        # HAProxy calls the command experimental in all versions that have it.
        said = self.run(worker, f"set var {name} int({value})", deadline, first="experimental-mode on; ").strip()
        if said:
            raise DriverFailed(f"{self.path}: worker {worker.pid} did not set {name}: {said}", "please report this")

    def undisturbed(self, work: Callable[[], T], deadline: Deadline) -> T:
        """Ask current workers for something, again when one of them ended meanwhile: somebody reloads the proxy."""
        return retry(work, deadline, Gone)

    def connections(self, worker: Worker, deadline: Deadline | None = None) -> int:
        """Count the connections of users that a worker has, idle ones too; 0 for one that has ended."""
        try:
            reply = self.run(worker, "show info", deadline)
        except Gone:
            return 0
        return number("^CurrConns: NUMBER", reply)

    def reload(self, deadline: Deadline) -> tuple[str, ...]:
        """Load the configuration files again; return the complaints of a proxy that went on with the old ones."""
        reply = self.ask("reload", deadline)
        if reply.startswith("Success=1"):
            return ()
        return complaints(reply) or (reply.strip() or "the proxy did not say why",)

    def _ask(self, command: str, within: float, limit: Deadline) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(min(within, max(limit.left(), 0.05)))
            connection.connect(str(self.path))
            connection.sendall(f"{command}\n".encode())
            connection.shutdown(socket.SHUT_WR)  # the master never closes first
            chunks = []
            while chunk := connection.recv(65536):
                chunks.append(chunk)
        if not chunks:
            raise ConnectionResetError("closed without a response")
        return b"".join(chunks).decode(errors="replace")


class Gone(DriverFailed):
    """A worker ended before it could answer."""

    def __init__(self, worker: Worker) -> None:
        super().__init__(f"worker {worker.pid} of the proxy has ended", "try again")


def _refused(error: Exception) -> bool:
    """Return whether a call was refused or reset, which may pass; one that had no response in time is not repeated."""
    return isinstance(error, OSError) and not isinstance(error, TimeoutError)


def _process(line: str, kind: str) -> int:
    """Return the number of a process of this kind in a line of `show proc`; 0 for any other line."""
    match = re.match(rf"([0-9]{{1,10}})\s+{kind}\s", line)
    return int(match[1]) if match else 0


def number(pattern: str, text: str) -> int:
    """Return the number that runs in the group of a pattern, 0 when there is none that can be counted with."""
    match = re.search(pattern.replace("NUMBER", "([0-9]{1,18})(?![0-9])"), text, re.MULTILINE)
    return int(match[1]) if match else 0


def complaints(text: str) -> tuple[str, ...]:
    """Return the lines of HAProxy's output that say what is wrong, without process ids and repeated summaries."""
    lines = [re.sub(r"^\[(ALERT|WARNING)\]\s+\(\d+\) : ", "", line) for line in _alerts(text.splitlines())]
    told = [line for line in lines if not re.match(r"(config : )?(Fatal errors|Error\(s\)|Loading failure)", line)]
    return tuple(dict.fromkeys(told))


def _alerts(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.startswith("[ALERT]")]


def _shown(command: str) -> str:
    return command if len(command) <= 60 else command[:60] + "…"

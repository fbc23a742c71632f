"""One ssh, started here, and what becomes of it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from deployer.core.errors import DeployError, Refused, Unreachable
from deployer.core.host import Host
from deployer.transport import ssh
from deployer.transport.greeting import SAME
from deployer.transport.timeouts import END_SECONDS

_LINES = 3  # of what was said last
_TOO_OLD = ("No such command", "No such option")


@dataclass(frozen=True)
class FarCommand:
    """A command of deployer that is called at the other end: no word of it is anybody's. `install` brings it there."""

    words: str
    install: str


class SshProcess:
    """One ssh. `socket` is its stdin and its stdout; what comes on stderr is kept, for errors.

    It ends when it is closed. Of an owner that was killed, it finds its socket closed.
    """

    def __init__(self, host: Host, words: Sequence[str]) -> None:
        self._host = host
        if shutil.which("ssh") is None:
            raise _unstarted("it is not on PATH")
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    words,
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                    start_new_session=True,  # a Ctrl-C is ours to answer: the way back needs the hosts
                )
        except OSError as error:
            self.socket.close()
            self._said.close()
            raise _unstarted(error.strerror or str(error)) from None

    def close(self) -> None:
        """End it, and with it the command there."""
        self.socket.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what ssh had started, for a jump
            self._process.wait()
        self._said.close()

    def runs(self) -> bool:
        """Return whether it has not ended."""
        return self._process.poll() is None

    def said(self) -> list[str]:
        """Return the last lines that ssh, or the command there, wrote on stderr."""
        try:
            descriptor = self._said.fileno()
        except ValueError:  # closed meanwhile
            return []
        size = os.fstat(descriptor).st_size
        text = os.pread(descriptor, 4096, max(size - 4096, 0)).decode(errors="replace")
        lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
        return [line.removeprefix("error: ") for line in lines if line][-_LINES:]

    def lost(self) -> str:
        """Return why there is no connection any more."""
        self._ended()
        said = self.said()
        return f"the connection broke: {said[-1].removeprefix('ssh: ')}" if said else "the connection broke"

    def failure(self, command: FarCommand | None = None) -> DeployError:
        """Return why it ended too early: Unreachable, or Refused where the command is not as it should be."""
        code, said = self._ended(), " / ".join(self.said())
        if code is None or code < 0:
            return Unreachable(f"ssh was ended by signal {-code}" if code else "ssh does not end")
        if command is None or code == ssh.FAILED:
            failure = ssh.explain(said or f"ssh ended with {code}", self._host)
            return Unreachable(failure.message, failure.remedy)
        if code == ssh.NOT_FOUND:
            where = ssh.by_hand(self._host, "command -v deploy")
            return Refused(f"there is no `deploy` there: {said}", f"{command.install}; `{where}` must find it")
        if any(words in said for words in _TOO_OLD):
            return Refused(f"deployer is too old there: {said}", SAME)
        ended = f"`{command.words}` ended with {code}" + (f": {said}" if said else "")
        return Unreachable(ended, f"try `{ssh.by_hand(self._host, 'deploy --version')}`")

    def _ended(self) -> int | None:
        """Return what it ended with; None where it does not end in a moment."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        return self._process.poll()


def _unstarted(why: str) -> Unreachable:
    return Unreachable(f"ssh cannot be started: {why}", "install an OpenSSH client")

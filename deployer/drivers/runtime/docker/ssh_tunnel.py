"""The way to the engine of another machine: its socket, forwarded to a file here by one ssh.

Docker's own ssh:// starts an ssh for every request and gives it no time-out. This one is started once and used for all
requests; it ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Unreachable
from deployer.core.host import Host
from deployer.core.short_folder import short_folder
from deployer.drivers.runtime.docker.bounds import bound
from deployer.drivers.runtime.docker.engine import knock

if TYPE_CHECKING:
    import docker

SOCKET = "/var/run/docker.sock"
OPEN_SECONDS = 8.0  # from the start of ssh to a socket that takes connections
END_SECONDS = 2.0  # for an ssh that was told to end
_OPTIONS = (
    *("-nNT", "-o", "ConnectTimeout=5"),
    *("-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"),  # a cable that was pulled ends it within 8 s
    *("-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindUnlink=yes", "-o", "StreamLocalBindMask=0177"),
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),  # shared, it would not end with us
)
# Ends ssh, and takes the folder away, when its stdin closes: also when the deployer was killed. The watcher has the
# pipe as descriptor 3, since what a shell runs in the background gets another stdin; it ends when ssh ends first.
_LIFELINE = """
folder=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
ssh=$!
{ read -r line <&3; rm -rf "$folder"; kill "$ssh"; } 2>/dev/null &
watcher=$!
wait "$ssh"; code=$?
kill "$watcher" 2>/dev/null
exit "$code"
"""


class SshTunnel:
    """One machine's engine, reached through ssh. It opens with the first call, and again when it was lost."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._opening = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._closed = False

    def connect(self, timeout: float, version: str | None) -> docker.DockerClient:
        """Give a client of the engine, as `engine.connect` does for that of this host.

        Raises Unreachable, with what ssh said, when there is no way to it.
        """
        import docker

        address = f"unix://{self._socket()}"
        try:
            knock(address, timeout)
            client = docker.DockerClient(base_url=address, timeout=timeout, version=version)  # type: ignore[arg-type]
        except (OSError, docker.errors.DockerException) as error:
            said = self._said()
            if "open failed" in said:  # ssh is there, the engine behind it is not
                raise Unreachable(f"{said} ({SOCKET} on {self._host.name})") from error
            raise
        bound(client, timeout)
        return client

    def close(self) -> None:
        """End ssh, and take its folder away."""
        with self._opening:
            self._closed = True
            self._end()

    def _socket(self) -> Path:
        """Give the socket, after opening the link where it is not open."""
        with self._opening:
            if self._process is not None and self._process.poll() is None and self._folder is not None:
                return self._folder / "s"
            self._end()
            if self._closed:
                raise Unreachable("the link is closed")
            try:
                return self._open()
            except BaseException:
                self._end()
                raise

    def _open(self) -> Path:
        self._folder = short_folder(room=20)
        socket = self._folder / "s"
        command = self._host.ssh(*_OPTIONS, "-L", f"{socket}:{SOCKET}")
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", _LIFELINE, "link", str(self._folder), *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C is ours to answer: the way back needs the machines
            )
        deadline = Deadline.after(SystemClock(), OPEN_SECONDS)
        process = self._process

        def ready() -> bool:
            if not (listens := _listens(socket)) and process.poll() is not None:
                raise Unreachable(self._said() or f"ssh ended with {process.returncode}")
            return listens

        if not deadline.wait(ready, every=0.01):
            raise Unreachable(self._said() or f"ssh made no connection within {OPEN_SECONDS:g} s")
        return socket

    def _said(self) -> str:
        """Give the last line that ssh wrote."""
        if self._folder is None:
            return ""
        try:
            lines = (self._folder / "log").read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            return ""
        return next((f"ssh: {line.strip()}" for line in reversed(lines) if line.strip()), "")

    def _end(self) -> None:
        process, folder, self._process, self._folder = self._process, self._folder, None, None
        if process is not None:
            if process.stdin is not None:
                with suppress(BrokenPipeError):
                    process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(END_SECONDS)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # the lifeline may be removing it, too


def _listens(socket: Path) -> bool:
    """Tell whether ssh takes connections: its file is there a moment before it does."""
    try:
        knock(f"unix://{socket}", OPEN_SECONDS)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    return True

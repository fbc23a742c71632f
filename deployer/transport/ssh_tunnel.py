"""A Unix socket of another host, as a file here: forwarded by one ssh, which is started once and used for all."""

from __future__ import annotations

import shutil
import socket
import threading
from pathlib import Path

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Unreachable
from deployer.core.host import Host
from deployer.core.short_folder import short_folder
from deployer.transport import ssh
from deployer.transport.ssh_process import SshProcess
from deployer.transport.timeouts import OPEN_SECONDS, QUICK

_OPTIONS = (
    *("-nN", "-o", "ExitOnForwardFailure=yes", "-o", "StreamLocalBindUnlink=yes", "-o", "StreamLocalBindMask=0177"),
    *ssh.ALONE,
)
_ROOM = 20  # bytes that ssh adds to the path while it makes its socket
# Ends ssh, and removes the folder, when the socket of who started it closes: also when that was killed. The watcher has
# it as descriptor 3, since what a shell runs in the background gets another stdin. Its group keeps the number of ssh.
_LIFELINE = """
folder=$1; shift
exec 3<&0
{ read -r line <&3; rm -rf "$folder"; kill "$$"; } >/dev/null 2>&1 &
exec "$@" </dev/null 3<&-
"""


class SshTunnel:
    """The way to a socket of a host. It opens when it is first asked for, and again when it was lost."""

    def __init__(self, host: Host, there: str, clock: Clock) -> None:
        self._host, self._there, self._clock = host, there, clock
        self._opening = threading.Lock()
        self._process: SshProcess | None = None
        self._folder: Path | None = None
        self._closed = False

    def socket(self) -> Path:
        """Return the file, after opening the tunnel where it is not open. Raise Unreachable, with what ssh said."""
        with self._opening:
            if self._process is not None and self._folder is not None and self._process.runs():
                return self._folder / "s"
            self._end()
            if self._closed:
                raise Unreachable("the tunnel is closed")
            try:
                return self._open()
            except BaseException:
                self._end()
                raise

    def refused(self) -> str:
        """Return why the other end could not connect to its socket, where ssh said so last."""
        process = self._process
        said = process.said()[-1:] if process is not None else []
        return f"{said[0]} ({self._there} on {self._host.name})" if said and "open failed" in said[0] else ""

    def close(self) -> None:
        """End ssh, and take its folder away."""
        with self._opening:
            self._closed = True
            self._end()

    def _open(self) -> Path:
        self._folder = short_folder(_ROOM)
        path = self._folder / "s"
        words = ssh.line(self._host, QUICK, *_OPTIONS, "-L", f"{path}:{self._there}")
        process = self._process = SshProcess(self._host, ["sh", "-c", _LIFELINE, "tunnel", str(self._folder), *words])

        def ready() -> bool:
            if not (listens := _listens(path)) and not process.runs():
                raise process.failure()
            return listens

        if not Deadline.after(self._clock, OPEN_SECONDS).wait(ready, every=0.01):
            raise Unreachable(f"no connection within {OPEN_SECONDS:g} s")
        return path

    def _end(self) -> None:
        process, folder, self._process, self._folder = self._process, self._folder, None, None
        if process is not None:
            process.close()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # the lifeline may be removing it, too


def _listens(path: Path) -> bool:
    """Return whether ssh takes connections: its file is there a moment before it does."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(OPEN_SECONDS)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True

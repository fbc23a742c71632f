"""A HAProxy as a team runs it: its own frontend and backend, started again by its own supervisor when it ends."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import binary
from deployer.drivers.traffic.haproxy.master import MasterSocket
from tests.ports import free_port

WITHIN = 60.0

MAIN = """\
global
  maxconn 1000

defaults
  mode http
  option idle-close-on-response
  timeout connect 1s
  timeout client 10s
  timeout server 10s

frontend team
  bind 127.0.0.1:{port}
  default_backend team

backend team
  server one {upstream}
"""

# What `Restart=always` of systemd does: HAProxy's master ends when a worker is killed.
AGAIN = 'while :; do "$@"; sleep 0.1; done'


class Team:
    """The team's HAProxy, in a folder of its own; started and stopped by the test."""

    def __init__(self, folder: Path, upstream: str) -> None:
        self.main, self.config, self.socket = folder / "main.cfg", folder / "conf.d", folder / "master.sock"
        self.program, self.port = binary.find().path, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.master = MasterSocket(self.socket, SystemClock())
        self._log = folder / "haproxy.log"
        self._running: subprocess.Popen[bytes] | None = None
        self.config.mkdir(parents=True)
        self.main.write_text(MAIN.format(port=self.port, upstream=upstream))

    def traffic(self) -> dict[str, object]:
        """Return what a manifest says under `traffic.haproxy`."""
        return {
            "config": str(self.config),
            "socket": str(self.socket),
            "binary": str(self.program),
            "main": [str(self.main)],
        }

    def start(self, *, with_folder: bool = True) -> None:
        """Start it and wait until it answers."""
        own = [str(self.program), "-W", "-S", f"{self.socket},mode,600", "-f", str(self.main)]
        argv = ["sh", "-c", AGAIN, "sh", *own, *(["-f", str(self.config)] if with_folder else [])]
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        self.worker()

    def worker(self) -> int:
        """Return the process that serves; a master that has none yet is asked again."""
        deadline = self._deadline()
        while True:
            try:
                return self.master.current(deadline)[0].pid
            except DriverFailed:
                deadline.check("the team's HAProxy has a worker", self._said())
                deadline.clock.sleep(0.02)

    def kill_worker(self) -> None:
        """End the worker that serves, with SIGKILL, and wait until another one does."""
        killed = self.worker()
        os.kill(killed, signal.SIGKILL)
        self._deadline().until(lambda: self.worker() != killed, "another worker serves", hint=self._said())

    def stop(self) -> None:
        """End it and what starts it again, at once; the socket goes too, as on a clean stop."""
        if self._running is None:
            return
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait(10)
        self._running = None
        self.socket.unlink(missing_ok=True)

    def _said(self) -> str:
        return self._log.read_text(errors="replace")

    @staticmethod
    def _deadline() -> Deadline:
        return Deadline.after(SystemClock(), WITHIN)

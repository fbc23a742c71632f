"""The process behind the waker: one beside a proxy, for all of its services that sleep, kept running by a supervisor.

It is started when the first of them goes to sleep. A connection to its control socket has it look at the proxy's files,
listen where a service has a waker now, and say which version it is.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import deployer
from deployer import supervisor
from deployer.core.clock import Deadline
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.waker import CONTROL
from deployer.supervisor import ProcessSpec

MODULE = "deployer.drivers.sleeping"
ANSWER_SECONDS = 2.0
# What leads to the engine of this host
_ENGINE = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")
_INHERITED = ("PATH", "HOME", "LANG", *_ENGINE)


class WakerProcess:
    """The waker of one proxy."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def ensure(self, deadline: Deadline) -> None:
        """Have it listen for all services that have a waker. Raise DriverFailed or DeadlinePassed where it does not."""
        if self.answers():
            return
        supervisor.ensure_running(self._home.waker, self._spec(), deadline)
        deadline.until(self.answers, "the waker does not listen", every=0.02, hint=f"its log is {self._log}")

    def answers(self) -> bool:
        """Return whether it runs, in this version, and listens for all services that have a waker."""
        with socket.socket(socket.AF_UNIX) as asked:
            asked.settimeout(ANSWER_SECONDS)
            try:
                asked.connect(str(self._home.inside.path(CONTROL)))
                said = asked.recv(100)
            except OSError:
                return False
        return said.decode(errors="replace").strip() == deployer.__version__

    def stop(self, deadline: Deadline) -> None:
        """End it, where it runs; none is to take its place."""
        supervisor.stop(self._home.waker, deadline)
        self._home.inside.path(CONTROL).unlink(missing_ok=True)

    @property
    def _log(self) -> Path:
        return self._home.waker / "log"

    def _spec(self) -> ProcessSpec:
        named = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        path = str(Path(deployer.__file__).parent.parent)
        return ProcessSpec(
            # Its version, for another one to take its place
            argv=(sys.executable, "-P", "-m", MODULE, str(self._home.root), deployer.__version__),
            cwd="/",
            env={"PATH": os.defpath, **named, "PYTHONPATH": path},
            log=str(self._log),
            grace=5.0,
        )

"""A proxy on a bench: a driver with a folder of its own, services with upstreams behind it, and a clean end."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from deployer import supervisor
from deployer.core.clock import SystemClock
from deployer.drivers.traffic.haproxy import HAProxyTraffic, binary
from deployer.drivers.traffic.haproxy.chain import key_of
from deployer.drivers.traffic.haproxy.master import MasterSocket
from deployer.manifest.models import HAProxy, Manifest
from deployer.model import Colour, Live, Release, Server
from deployer.supervisor.proc import Process
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.waiting import within

_numbers = itertools.count(1)


def programs() -> list[Path]:
    """Return every haproxy of this host that is new enough: normally the system's and the wheel's."""
    return [p for p in binary.candidates() if binary.version_of(p)[:2] >= binary.OLDEST]


def label(program: Path) -> str:
    return "haproxy-" + ".".join(map(str, binary.version_of(program)[:2]))


class Bench:
    """One proxy. `team` starts a HAProxy as a team would run it, with its own `settings`, and has the driver use it."""

    def __init__(self, folder: Path, program: Path, *, team: bool = False, settings: str = "") -> None:
        self.folder = folder
        self.program = program
        self.port = free_port()
        self.root = folder / "proxy"
        self._team: subprocess.Popen[bytes] | None = None
        existing = self._start_team(settings) if team else None
        self.chain_key = key_of("the secret of a bench")
        self.traffic = HAProxyTraffic(
            self.root, SystemClock(), existing=existing, program=program, state=folder, chain_key=self.chain_key
        )
        self.master = MasterSocket(Path(existing.socket) if existing else self.root / "master.sock", SystemClock())

    def manifest(
        self,
        service: str = "shop",
        *,
        health: dict[str, Any] | None = None,
        scale: dict[str, Any] | None = None,
        **traffic: Any,
    ) -> Manifest:
        given = {"listen": f"127.0.0.1:{self.port}", "sticky": False, **traffic}
        health = health or ({"tcp": True} if given.get("mode") == "tcp" else {"http": "/up"})
        return Manifest.model_validate(
            {"service": service, "image": "app:1", "port": 80, "health": health, "scale": scale, "traffic": given}
        )

    def release(self, service: str = "shop", **traffic: Any) -> Release:
        number = next(_numbers)
        return Release(
            service, number, str(number), "app:1", "sha256:1", self.manifest(service, **traffic), f"h{number}"
        )

    def put(self, colour: Colour, *upstreams: Upstream, service: str = "shop", **traffic: Any) -> None:
        """Configure the colour and attach the upstreams; the settings go to the entry too."""
        release = self.release(service, **traffic)
        self.traffic.configure(release, colour, within())
        self.traffic.configure(release, None, within())
        self.traffic.attach(service, colour, [self.server(u) for u in upstreams], within())

    def both(self, blue: Upstream, green: Upstream, *, service: str = "shop", **traffic: Any) -> None:
        """Put an upstream into each colour; users are on blue."""
        self.put("blue", blue, service=service, **traffic)
        self.put("green", green, service=service, **traffic)
        self.set_traffic(Live("blue"), service)

    @staticmethod
    def server(upstream: Upstream) -> Server:
        return Server(upstream.name, upstream.address)

    def set_traffic(self, live: Live, service: str = "shop") -> None:
        self.traffic.set_traffic(service, live, within())

    def workers(self) -> list[int]:
        return [w.pid for w in self.master.current(within())]

    def master_pid(self) -> int:
        lines = self.master.ask("show proc").splitlines()
        return next(int(line.split()[0]) for line in lines if " master " in line)

    def kill(self, pid: int) -> None:
        """End a process, and wait until it is seen to have ended: that takes a moment on a busy machine."""
        os.kill(pid, signal.SIGKILL)
        within().until(lambda: Process.of(pid) is None, f"process {pid} ends", every=0.01)

    def kill_master(self) -> None:
        """End the master, and wait until its workers have ended too: until then they take connections, to drop them."""
        workers = self.workers()
        self.kill(self.master_pid())
        self._ended(workers)

    @staticmethod
    def _ended(pids: list[int]) -> None:
        within().until(lambda: not any(map(Process.of, pids)), f"processes {pids} end", every=0.01)

    def config(self) -> str:
        return self.traffic.parts.home.config.read_text()

    def close(self) -> None:
        try:
            for path in list(self.traffic.parts.home.services.glob("*.json")):
                self.traffic.forget(path.stem, within(30))
        finally:
            if self._team:
                self._team.terminate()
                self._team.wait(10)
            else:
                supervisor.stop(self.root / "process", within())

    def start_team(self) -> subprocess.Popen[bytes]:
        """Start the HAProxy of the team, as it would do that."""
        with (self.folder / "team.log").open("wb") as log:
            self._team = subprocess.Popen(self._argv, stdout=log, stderr=log)
        return self._team

    def end_team(self) -> None:
        """End it, with its workers."""
        assert self._team
        workers = self.workers()
        self._team.kill()
        self._team.wait(10)
        self._ended(workers)

    def _start_team(self, settings: str) -> HAProxy:
        main, conf = self.folder / "main.cfg", self.folder / "conf.d"
        conf.mkdir(exist_ok=True)
        self.team_port = free_port()
        main.write_text(
            f"global\n  maxconn 1000\n{settings}\ndefaults\n  mode http\n  option idle-close-on-response\n"
            "  timeout client 5s\n  timeout connect 1s\n"
            f"  timeout server 5s\n\nfrontend team\n  bind 127.0.0.1:{self.team_port}\n"
            '  http-request return status 200 content-type text/plain string "the team"\n'
        )
        master = self.folder / "team.sock"
        argv = [str(self.program), "-W", "-S", f"{master},mode,600", "-f", str(main), "-f", str(conf)]
        self._argv = argv
        self.start_team()
        within().until(MasterSocket(master, SystemClock()).answers, "the team's proxy comes up", every=0.02)
        return HAProxy(config=str(conf), socket=str(master), binary=str(self.program), main=(str(main),))

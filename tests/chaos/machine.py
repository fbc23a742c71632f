"""The machine of a chaos run, as far as it is the run's own: wall clock, disk of the state folder, Docker engine.

Network and mounts are namespaces of the run, so that nothing it breaks is anybody else's, and all of it ends with it.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import docker
import docker.errors
import requests

from deployer.core.clock import Deadline, SystemClock
from deployer.drivers.traffic.haproxy import binary

INSIDE = "CHAOS_INSIDE"  # set in the namespaces
DISK = "192m"  # of the state folder
ENGINE_SECONDS = 180.0
SBIN = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def enter() -> None:
    """Go on in namespaces of our own, as root; comes back in them."""
    if os.environ.get(INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10, env={**os.environ, "PATH": SBIN})
        return
    if os.geteuid() != 0:
        sys.exit("a chaos run needs root: it has a network, a disk and a Docker engine of its own")
    again = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]]
    os.execvpe("unshare", again, {**os.environ, INSIDE: "1"})


class WallClock:
    """What every program of the run takes for the time of day: it jumps for all of them at once."""

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "clock", folder / "clock.so"
        self._file.write_bytes(struct.pack("q", 0))
        source = Path(__file__).with_name("clock.c")
        command = ["gcc", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Werror", "-o", str(self._library)]
        subprocess.run([*command, str(source)], check=True, timeout=60)
        self._show(folder, binary.find().path)

    def _show(self, folder: Path, haproxy: Path) -> None:
        """Let the proxy see it too, which inherits nothing: in its place stands a script that starts it so."""
        real, script = folder / "haproxy", folder / "haproxy.sh"
        shutil.copy(haproxy, real)
        settings = "".join(f"{name}={value} " for name, value in self.environment().items())
        script.write_text(f'#!/bin/sh\n{settings}exec {real} "$@"\n')
        script.chmod(0o755)
        subprocess.run(["mount", "--bind", str(script), str(haproxy)], check=True, timeout=10)

    def environment(self) -> dict[str, str]:
        """Return what programs need to see it."""
        return {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Let it be so many seconds ahead of the machine's, or behind it."""
        with self._file.open("r+b") as file:  # in place: it is mapped
            file.write(struct.pack("q", seconds))


class Disk:
    """A small disk of its own for a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._ballast = folder, folder / "ballast"
        folder.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "chaos", str(folder)]
        subprocess.run(mount, check=True, timeout=10)

    def fill(self) -> None:
        """Leave no byte free."""
        size = 1 << 20
        with self._ballast.open("ab", buffering=0) as file:
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Free what was filled."""
        self._ballast.unlink()

    def close(self) -> None:
        """Take it away, whoever still has a file open on it."""
        subprocess.run(["umount", "-l", str(self._folder)], check=True, timeout=10)


class Engine:
    """A Docker engine that can be killed and started again.

    Told to keep containers running without it (`live-restore`), and to let the kernel forward ports instead of a
    program of its own, which would die with it (`userland-proxy`). A `plain` one is as Docker comes: with neither.
    Its containerd is a service beside it, as on machines: one that dies while it starts a container leaves a process
    with the address of the next one, of which no engine knows.
    """

    def __init__(self, folder: Path, *, plain: bool) -> None:
        self._folder, self.plain = folder, plain
        folder.mkdir()
        self.host = f"unix://{folder}/docker.sock"
        places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
        kept = [] if plain else ["--live-restore", "--userland-proxy=false"]
        self._containerd = folder / "containerd.sock"
        self._command = ["dockerd", "--host", self.host, "--containerd", str(self._containerd), *places, *kept]
        self._process: subprocess.Popen[bytes] | None = None
        self._run(self._beside())
        Deadline.after(SystemClock(), ENGINE_SECONDS).until(self._containerd.exists, "containerd listens")
        self.start()
        self.client = docker.DockerClient(base_url=self.host, timeout=60)

    def _beside(self) -> list[str]:
        settings = self._folder / "containerd.toml"
        settings.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        places = ["--root", f"{self._folder}/kept", "--state", f"{self._folder}/run"]
        return ["containerd", "--config", str(settings), "--address", str(self._containerd), *places]

    def _run(self, command: list[str]) -> subprocess.Popen[bytes]:
        with (self._folder / "log").open("ab") as log:
            environment = {**os.environ, "PATH": SBIN}
            return subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = self._run(self._command)
        Deadline.after(SystemClock(), ENGINE_SECONDS).until(self._answers, "the Docker engine answers")

    def kill(self) -> None:
        """SIGKILL: the engine alone; not the containers, and not what holds them."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(60)

    def close(self) -> None:
        """Stop it, and everything that names its folder; its containers are gone by now."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(30)
        for pid in self._left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if line.split()[1].startswith(f"{self._folder}/"):
                subprocess.run(["umount", "-l", line.split()[1]], check=True, timeout=10)

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self._folder / "log").read_text(errors="replace")[-2000:])
        if not Path(self.host.removeprefix("unix://")).exists():
            return False
        try:
            probe = docker.DockerClient(base_url=self.host, timeout=5)
            try:
                return bool(probe.ping())
            finally:
                probe.close()
        except (docker.errors.DockerException, requests.exceptions.RequestException, OSError):
            return False

    def _left(self) -> list[int]:
        mine = f"{self._folder}/".encode()
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if mine in file.read_bytes():
                    found.append(int(file.parent.name))
        return found


class Machine:
    """Clock, disk and engine of one run, in a folder."""

    def __init__(self, folder: Path, *, engine: bool, plain: bool = False) -> None:
        self.clock = WallClock(folder)
        self.disk = Disk(folder / "state")
        self.engine = Engine(folder / "engine", plain=plain) if engine else None

    def environment(self) -> dict[str, str]:
        """Return what the programs of the run need to be on this host."""
        host = {"DOCKER_HOST": self.engine.host} if self.engine else {}
        return {**self.clock.environment(), **host}

    def close(self) -> None:
        """End what is left of it."""
        if self.engine is not None:
            self.engine.client.close()
            self.engine.close()
        self.disk.close()

"""A real sshd on a port of the loopback, with keys of its own."""

from __future__ import annotations

import getpass
import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock
from tests.ports import free_port


def args(keys: Path) -> str:
    """Return what ssh needs besides the address, where the keys lie in this folder."""
    known = f"-o UserKnownHostsFile={keys}/known_hosts -o GlobalKnownHostsFile=/dev/null"
    return f"-F none -i {keys}/user {known} -o StrictHostKeyChecking=yes"


@dataclass(frozen=True)
class Sshd:
    """How it is reached: with the keys in a folder; `pid` is that of the process that listens."""

    host: str
    port: int
    keys: Path
    pid: int

    @property
    def args(self) -> str:
        """Return what ssh needs besides the address."""
        return args(self.keys)

    @property
    def address(self) -> str:
        return f"ssh://{getpass.getuser()}@{self.host}:{self.port}"

    def sessions(self) -> list[int]:
        """Return the processes of the connections that are open now; of some versions it is several for each."""
        found, looked = [], [self.pid]
        while looked:
            for child in _children(looked.pop()):
                if _is_sshd(child):
                    found.append(child)
                    looked.append(child)
        return found

    def kill_sessions(self) -> list[int]:
        """End every connection without a word; return its processes."""
        found = self.sessions()
        for session in found:
            with suppress(ProcessLookupError):  # it ends with the one that began it
                os.kill(session, signal.SIGKILL)
        return found


@contextmanager
def sshd(folder: Path, environ: Mapping[str, str] | None = None, host: str = "127.0.0.1") -> Iterator[Sshd]:
    """Have one; `environ` is what the sessions have in their environment."""
    keys, port = folder / "keys", free_port()
    keys.mkdir()
    for name in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", keys / name], check=True, timeout=20)
    (keys / "known_hosts").write_text(f"[{host}]:{port} {(keys / 'host.pub').read_text()}")
    settings = " ".join(shlex.quote(f"{name}={value}") for name, value in (environ or {}).items())
    (keys / "config").write_text(
        f"ListenAddress {host}:{port}\nHostKey {keys}/host\nAuthorizedKeysFile {keys}/user.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
        + (f"SetEnv {settings}\n" if settings else "")
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with (keys / "log").open("wb") as log:
        # -e keeps it from the system's log; its own environment is not that of the sessions.
        server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", keys / "config"], stderr=log, env=_bare())
    try:
        Deadline.after(SystemClock(), 20).until(lambda: _listens(host, port), "sshd", hint=(keys / "log").read_text())
        yield Sshd(host, port, keys, server.pid)
    finally:
        server.terminate()
        server.wait(10)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []  # it has ended meanwhile


def _is_sshd(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("sshd")
    except (FileNotFoundError, ProcessLookupError):
        return False


def _listens(host: str, port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(5)
        return sock.connect_ex((host, port)) == 0


def _bare() -> dict[str, str]:
    kept = ("PATH", "HOME", "LANG")
    return {name: os.environ[name] for name in kept if name in os.environ}

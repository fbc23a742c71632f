"""A private engine, in namespaces of its own: nothing of it is left, and no other engine learns of a swarm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.chaos.machine import Engine

APART = ("unshare", "--net", "--pid", "--mount", "--fork", "--mount-proc", "--kill-child")


@contextmanager
def engine(folder: Path) -> Iterator[docker.DockerClient]:
    """Run an engine in a folder, with an address that a swarm can have; `docker` finds it."""
    for command in (
        ("ip", "link", "set", "lo", "up"),
        ("ip", "link", "add", "peers", "type", "bridge"),
        ("ip", "address", "add", "10.254.0.1/24", "dev", "peers"),
        ("ip", "link", "set", "peers", "up"),
    ):
        subprocess.run(command, check=True, timeout=10)
    made = Engine(folder / "engine", plain=True)
    try:
        os.environ["DOCKER_HOST"] = made.host
        yield made.client
    finally:
        made.client.close()
        made.close()


def apart(module: str, words: Sequence[str]) -> int:
    """Run a bench again in namespaces of its own, with the folder in `--inside`; whatever ends it, they end with it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="dppeers", dir="/tmp") as folder:  # short: sockets lie in it
        process = subprocess.Popen([*APART, sys.executable, "-m", module, "--inside", folder, *words])
        try:
            return process.wait()
        finally:
            if process.poll() is None:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the first process of the namespaces, with which all others in there end."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.wait()

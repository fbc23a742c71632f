"""A PostgreSQL of its own for tests: started once a process, on a socket that nobody else has."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

USER = "postgres"  # the server refuses to run as root


class Server:
    """A running server; each test has a schema of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self._as = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        folder.mkdir(mode=0o700)
        if self._as:
            shutil.chown(folder, USER)
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)

    def start(self) -> None:
        settings = f"-k {self.folder} -c listen_addresses= -c fsync=off -c shared_buffers=8MB -c max_connections=80"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", settings, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def address(self, schema: str = "") -> str:
        options = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://{USER}@/postgres?host={self.folder}{options}"

    def schema(self) -> str:
        """Make an empty schema; give the address of it."""
        import psycopg

        name = f"s{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f"create schema {name}".encode())
        return self.address(name)

    def signal(self, pid: int, which: signal.Signals) -> None:
        os.kill(pid, which)


@contextmanager
def running() -> Iterator[Server]:
    """Run a server, and leave nothing of it."""
    server = Server(Path("/tmp") / f"dppg{uuid.uuid4().hex[:8]}")
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(server.folder)

"""A PostgreSQL of its own for tests, started once a process on a socket that nobody else has; a pgbouncer before it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import within

USER = "postgres"  # the server refuses to run as root


class Server:
    """A running server; each test has a schema of its own."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        self.folder, self.data = folder, folder / "data"
        self._settings = "" if durable else " -c fsync=off -c shared_buffers=8MB"
        self._programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        self.account = ["runuser", "-u", USER, "--"] if os.geteuid() == 0 else []
        folder.mkdir(mode=0o700)
        if self.account:
            shutil.chown(folder, USER)
        self._run("initdb", "-D", self.data, "-U", USER, "-A", "trust", "--no-sync", "-E", "UTF8")

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self.account, str(self._programs / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd="/", timeout=120)

    def start(self) -> None:
        settings = f"-k {self.folder} -c listen_addresses= -c max_connections=80{self._settings}"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-o", settings, "-w", "start")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def address(self, schema: str = "") -> str:
        options = f"&options=-csearch_path%3D{schema}" if schema else ""
        return f"postgresql://{USER}@/postgres?host={self.folder}{options}"

    def schema(self) -> str:
        """Make an empty schema; return the address of it."""
        import psycopg

        name = f"s{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f"create schema {name}".encode())
        return self.address(name)

    def new_database(self) -> str:
        """Make an empty database; return the name of it."""
        import psycopg

        name = f"d{uuid.uuid4().hex[:12]}"
        with psycopg.connect(self.address(), autocommit=True) as db:
            db.execute(f"create database {name}".encode())
        return name

    def signal(self, pid: int, which: signal.Signals) -> None:
        os.kill(pid, which)


@contextmanager
def running(*, durable: bool = False) -> Iterator[Server]:
    """Run a server, and leave nothing of it; what a `durable` one has committed lasts through a power cut."""
    server = Server(Path("/tmp") / f"dppg{uuid.uuid4().hex[:8]}", durable=durable)
    try:
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(server.folder)


BOUNCER = """\
[databases]
* = host={server}
[pgbouncer]
unix_socket_dir = {folder}
listen_addr =
listen_port = {port}
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
auth_type = trust
auth_file = {folder}/users
logfile = {folder}/log
"""
PORT = 6432  # a part of the name of the socket, which lies in a folder of its own


class Bouncer:
    """A pgbouncer that gives each transaction any of a few connections; a database of its own for each test."""

    def __init__(self, server: Server, folder: Path) -> None:
        self._server, self._folder = server, folder

    def address(self) -> str:
        """Make an empty database; return its address. A schema cannot be named: that is a setting of a session."""
        return f"postgresql://{USER}@/{self._server.new_database()}?host={self._folder}&port={PORT}"


@contextmanager
def bouncing(server: Server) -> Iterator[Bouncer]:
    """Run a pgbouncer before a server."""
    folder = server.folder / "bouncer"
    folder.mkdir(mode=0o700)
    try:
        (folder / "users").write_text(f'"{USER}" ""\n')
        (folder / "ini").write_text(BOUNCER.format(server=server.folder, folder=folder, port=PORT))
        if server.account:  # it does not run as root, either
            for path in (folder, *folder.iterdir()):
                shutil.chown(path, USER)
        with subprocess.Popen([*server.account, "pgbouncer", str(folder / "ini")], cwd="/") as process:
            try:
                socket = folder / f".s.PGSQL.{PORT}"
                within().until(lambda: socket.exists() or process.poll() is not None, "pgbouncer listens")
                assert process.poll() is None, (folder / "log").read_text()
                yield Bouncer(server, folder)
            finally:
                process.terminate()
                process.wait(10)
    finally:
        shutil.rmtree(folder)

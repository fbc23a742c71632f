"""A host that serves a real application from its own PostgreSQL, and can lose its power."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.documents import REPOSITORY
from tests.lab.machines import Lab, Machine
from tests.machines.box import Box, within
from tests.machines.installed import install
from tests.services import go_without, require

HERE = Path(__file__).parent
CACHE = REPOSITORY / ".cache" / "node"
INSTALL_WITHIN = 300  # seconds
MODULES = "opt/board/node_modules"
DATA, PORT = "/var/lib/board", 5999
DATABASE = f"""\
[Unit]
Description=The database of the board

[Service]
User=postgres
ExecStart={{postgres}} -D {DATA} -p {PORT} -h 127.0.0.1 -c unix_socket_directories=
KillSignal=SIGINT

[Install]
WantedBy=multi-user.target
"""
MANIFEST = f"""\
    service: board
    runtime: process
    image: releases/{{version}}
    command: [sh, ./run]
    port: 8080
    replicas: 2
    env: {{DB_PORT: "{PORT}", HOME: /tmp}}
    health: {{http: /up, interval: 1s, timeout: 10s, deadline: 120s}}
    stop: {{drain: 10s, grace: 15s}}
    traffic: {{listen: "*:8080", affinity: {{affinity}}, handover: {{former: 3s}}}}
    judge: {{requests: 20}}
    strategy: {{canary: {{steps: [20, 50], for: 4s, bake: 2s}}}}
    """


@dataclass(frozen=True)
class Application:
    """One of the applications in this folder: two versions of a board of messages, of which 2.0 adds a column."""

    name: str
    command: str
    needs: tuple[str, ...]
    affinity: str = "none"
    only_2: tuple[str, ...] = ()  # files that version 1.0 has not


DJANGO = Application(
    "django",
    "/usr/bin/python3 manage.py migrate_once && exec /usr/bin/python3 -m uvicorn board.asgi:application"
    ' --host "$HOST" --port "$PORT" --log-level warning --timeout-graceful-shutdown 10',
    ("django",),
    only_2=("board/migrations/0002_mood.py",),
)
# Its clients begin with several requests of one session, which belong on one instance.
NODE = Application("node", f"NODE_PATH=/{MODULES} exec node server.js", ("node",), affinity="instance")
RAILS = Application("rails", "exec puma -C puma.rb config.ru", ("rails",))


class Site(Box):
    """The host, with the database up and version 1.0 and 2.0 of the application to be deployed."""

    def __init__(self, machine: Machine, application: Application) -> None:
        self.application = application
        _database(machine)
        if application is NODE:
            shutil.copytree(node_modules(), machine.root / MODULES)
        super().__init__(machine, MANIFEST.replace("{affinity}", application.affinity))

    def release(self, folder: Path, version: str) -> None:
        """Put a version of the application into a folder."""
        shutil.copytree(HERE / self.application.name, folder, ignore=shutil.ignore_patterns("__pycache__"))
        if version == "1.0":
            for name in self.application.only_2:
                (folder / name).unlink()
        settings = f"export VERSION={version} RAILS_ENV=production PYTHONDONTWRITEBYTECODE=1\n"
        (folder / "run").write_text(settings + self.application.command + "\n")


@contextmanager
def site(application: Application) -> Iterator[Site]:
    """Boot a host with the deployer and an application on it; this process is where its users are."""
    require("machines", "haproxy", "postgres", "chromium", *application.needs)
    if application is NODE:
        node_modules()
    with Lab({"box": ()}) as lab, lab.entered():
        install(lab["box"])
        yield Site(lab["box"], application)


def _database(machine: Machine) -> None:
    """Make a database and start it, now and with the host."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    machine.run("install", "-d", "-o", "postgres", "-m", "0700", DATA)
    made = (str(programs / "initdb"), "-D", DATA, "-U", "board", "-A", "trust")
    machine.run("runuser", "-u", "postgres", "--", *made)
    unit = machine.root / "etc/systemd/system/board-database.service"
    unit.write_text(DATABASE.format(postgres=programs / "postgres"))
    machine.run("systemctl", "enable", "--now", unit.name)
    ready = (str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(PORT))
    within().until(lambda: machine.run(*ready, check=False).returncode == 0, "the database answers")


@functools.cache
def node_modules() -> Path:
    """Return the folder of what the application for Node needs, made once; npm needs a network, which a lab has not."""
    lock = HERE / "node/package-lock.json"
    target = CACHE / hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            for name in ("package.json", lock.name):
                shutil.copy(HERE / "node" / name, folder)
            npm = ("npm", "ci", "--silent", "--no-audit", "--no-fund", "--ignore-scripts")
            done = subprocess.run(npm, cwd=folder, capture_output=True, text=True, timeout=INSTALL_WITHIN, check=False)
            if done.returncode:
                go_without(f"npm cannot install what {lock} names: {done.stderr.strip()[-300:]}")
            if not target.exists():  # several test runs may do this at the same time
                (Path(folder) / "node_modules").rename(target)
    return target

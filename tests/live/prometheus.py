"""A real Prometheus with a source of numbers that a test sets."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
import yaml

from tests.live.certificates import certificate
from tests.ports import free_port

SCRAPE = "200ms"
USER, PASSWORD = "dana", "hunter2"
_BCRYPT = "$2b$04$abcdefghijklmnopqrstuuV3duMsC0HpUex6N9qapiuOHHWkwRXVm"  # of the password


@dataclass
class Numbers:
    """What is scraped: series as Prometheus writes them, each with its value; a value may change with time.

    With a time of their own they outlive a look that came too late (on a busy host): none takes them for ended then.
    """

    series: dict[str, float | Callable[[], float]] = field(default_factory=dict)

    def text(self) -> str:
        values = {name: value() if callable(value) else value for name, value in self.series.items()}
        at = round(time.time() * 1000)
        return "".join(f"{name} {value} {at}\n" for name, value in values.items())


@contextmanager
def exporter(numbers: Numbers) -> Iterator[int]:
    """Serve the numbers; yield the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(numbers.text().encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join(20)
        server.server_close()


class Prometheus:
    """One process of it in a folder; with `guarded` it wants TLS and a password."""

    def __init__(self, folder: Path, target: int, *, guarded: bool = False) -> None:
        self.folder, self.port, self.guarded = folder, free_port(), guarded
        folder.mkdir(parents=True)
        self.ca = certificate(folder / "own.pem", "localhost")
        scrape = {"job_name": "app", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        timing = {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE}
        self._write("prometheus.yml", {"global": timing, "scrape_configs": [scrape]})
        tls = {"cert_file": str(self.ca), "key_file": str(self.ca)}
        guard = {"tls_server_config": tls, "basic_auth_users": {USER: _BCRYPT}}
        self._write("web.yml", guard if guarded else {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}" if self.guarded else f"http://127.0.0.1:{self.port}"

    def _write(self, name: str, data: dict[str, Any]) -> None:
        (self.folder / name).write_text(yaml.safe_dump(data))

    def start(self) -> None:
        """Start it, and wait until it answers questions."""
        argv = [
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--web.config.file={self.folder}/web.yml",
            f"--web.listen-address=127.0.0.1:{self.port}",
            f"--storage.tsdb.path={self.folder}/data",
            "--query.lookback-delta=30s",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, cwd=self.folder)
        self.until(lambda: self.ask("1") is not None, "it answers")

    def ask(self, query: str) -> float | None:
        """Ask for a number; None when there is none, or nobody to ask."""
        try:
            answer = requests.get(
                f"{self.url}/api/v1/query",
                params={"query": f"scalar({query})" if query != "1" else "scalar(vector(1))"},
                auth=(USER, PASSWORD),
                verify=str(self.ca),
                timeout=5,
            )
        except (requests.ConnectionError, requests.Timeout):
            return None
        value = float(answer.json()["data"]["result"][1]) if answer.ok else float("nan")
        return None if value != value else value

    def until(self, ready: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
        end = time.monotonic() + seconds
        while not ready():
            ended = self._process is not None and self._process.poll() is not None
            assert not ended, f"prometheus ended: {(self.folder / 'log').read_text()}"
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s: {(self.folder / 'log').read_text()}"
            time.sleep(0.05)

    def kill(self) -> None:
        """End it as a machine that fails would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None


@contextmanager
def prometheus(folder: Path, numbers: Numbers, *, guarded: bool = False) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these numbers."""
    with exporter(numbers) as port:
        made = Prometheus(folder, port, guarded=guarded)
        try:
            made.start()
            yield made
        finally:
            made.kill()

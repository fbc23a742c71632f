"""The Compose project of `examples/compose`, started as its page says: Docker's own command, a copy of the sources."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import requests
import yaml

from tests.documents import REPOSITORY, blocks
from tests.lab import debian
from tests.live.certificates import certificate
from tests.live.shop import COMMAND_SECONDS, DEPLOY, Shop
from tests.ports import INSTANCES, free_port, part, words

SOURCES = ("deployer", "strategies", "playbooks", "inventories", "examples", "pyproject.toml", "README.md", "LICENSE")
BUILD_SECONDS = 300
HOST = "shop.example.com"
NAME = "localhost"


class Composed:
    """The project: a server and a team's proxy in containers, and a client outside that has an address and a token."""

    def __init__(self, folder: Path, client: docker.DockerClient) -> None:
        self.folder, self.client = folder, client
        self.shop = Shop(folder, "docker", client)
        self.project = f"dp{secrets.token_hex(4)}"
        self.base = f"{self.project}-base:1"
        self.port, self.team_port = free_port(), free_port()
        self.url = f"https://{NAME}:{self.port}"
        self.compose = folder / "examples/compose"
        self.token = ""
        self.environ = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COMPOSE_PROJECT_NAME": self.project,
            "DEPLOYER_PORTS": words(part(INSTANCES)),
            "DEPLOYER_SERVER": self.url,
            "DEPLOYER_STATE": str(folder / "nowhere"),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    # -- beginning

    def prepare(self) -> None:
        """Lay out the sources, and what a registry and an index would have given."""
        for source in SOURCES:
            here, there = REPOSITORY / source, self.folder / source
            if here.is_dir():
                shutil.copytree(here, there, ignore=shutil.ignore_patterns("__pycache__", "wheels"))
            else:
                shutil.copy(here, there)
        debian.build(self.base, debian.OF_EXAMPLE, self.folder, self.client)
        certificate(self.compose / "tls.pem", NAME)
        (self.compose / "tls.pem").rename(self.compose / "both")
        for part_of, kind in (("tls.pem", "CERTIFICATE"), ("tls.key", "PRIVATE KEY")):
            match = re.search(rf"-+BEGIN {kind}-+.*-+END {kind}-+\n", (self.compose / "both").read_text(), re.DOTALL)
            assert match
            (self.compose / part_of).write_text(match[0])
        key = self.compose / "tls.key"
        key.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(key, 1000, 1000)  # as that of a person who is not root
        main = self.compose / "haproxy/haproxy.cfg"
        main.write_text(main.read_text().replace("127.0.0.1:8080", f"127.0.0.1:{self.team_port}"))
        wheels = (
            "download",
            "-q",
            "--only-binary=:all:",
            f"--python-version={_python()}",
            "-d",
            "examples/compose/wheels",
        )
        pip = [sys.executable, "-m", "pip"]
        own = [*pip, "wheel", "-q", "--no-deps", "-w", "examples/compose/wheels", "."]
        for command in (own, [*pip, *wheels, "--require-hashes", "-r", "deployer/core/locked/server.txt"]):
            self._run(command, self.folder, BUILD_SECONDS, self.environ)
        settings = {
            "DEPLOYER_NAME": NAME,
            "DEPLOYER_LISTEN": f"127.0.0.1:{self.port}",
            "DOCKER_SOCKET": os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://"),
            "HAPROXY_IMAGE": self.base,
            "PIP_NO_INDEX": "1",
        }
        (self.compose / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.manifest()

    def manifest(self, **changes: Any) -> None:
        """Write the manifest of the example, for the service of this test; keys are changed for good."""
        path = self.compose / "shop/deploy.yml"
        manifest = yaml.safe_load(path.read_text())
        manifest.update(service=self.shop.name, image=self.shop.name)
        manifest["traffic"]["listen"] = f"127.0.0.1:{self.shop.port}"
        manifest["health"].update(interval="200ms", deadline="10s")
        manifest.update({"stop": {"drain": "10s", "grace": "5s"}, "judge": {"requests": 5}, **changes})
        path.write_text(yaml.safe_dump(manifest, sort_keys=False))

    def up(self) -> None:
        """Type what the page says."""
        (page,) = (b for b in blocks(REPOSITORY / "docs/server.md") if "compose" in b.marks)
        script = "set -eu\n" + page.text
        said = self._run(["bash", "-c", script], self.folder, BUILD_SECONDS, self.environ).stdout
        self.token = said.strip().splitlines()[-1]
        assert self.token.startswith("deploy_"), said

    # -- what people type

    def docker(self, *arguments: str) -> str:
        """Run `docker compose ARGUMENTS` in the folder of the example."""
        command = ["docker", "compose", *arguments]
        return self._run(command, self.compose, COMMAND_SECONDS, self.environ).stdout

    def inside(self, *arguments: str) -> str:
        """Run `deploy ARGUMENTS` in the container of the server."""
        return self.docker("exec", "deploy", "deploy", *arguments)

    def deploy(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `deploy ARGUMENTS` outside, as a client of the server."""
        done = subprocess.run(self._command(arguments), **self._client(), timeout=COMMAND_SECONDS, check=False)
        said = f"deploy {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, f"{said}\n{self.logs()}"
        assert "Traceback" not in done.stderr, said
        return done

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `deploy ARGUMENTS` outside, beside the test; it is killed at the end if it still runs."""
        pipe = subprocess.PIPE
        with subprocess.Popen(self._command(arguments), **self._client(pipe)) as process:
            try:
                yield process
            finally:
                process.kill()

    def status(self) -> dict[str, Any]:
        """Return `deploy status` as data."""
        found: dict[str, Any] = json.loads(self.deploy("status", "--output", "json").stdout)
        return found

    def get(self, within: float = 0.0) -> str:
        """Ask the service for its version, as a new client through the proxy, which has that time to listen."""
        answer = self._asked(f"{self.shop.url}/version", within)
        assert answer.status_code == 200, answer.text
        return answer.text.strip()

    def team(self, within: float = 0.0) -> str:
        """Ask what the team had before."""
        return self._asked(f"http://127.0.0.1:{self.team_port}", within).text.strip()

    def logs(self) -> str:
        """Return what the containers of the project wrote."""
        command = ["docker", "compose", "logs", "--no-color", "--tail", "100"]
        done = subprocess.run(command, **self._options(self.compose, self.environ), timeout=60, check=False)
        return str(done.stdout)

    def kill(self, service: str) -> None:
        """Kill a container of the project; it stays as it is until it is started."""
        (container,) = self._containers(service)
        self.client.api.kill(container)

    def start_alone(self, service: str) -> None:
        """Start a container without those that it depends on: at its own start the engine knows of no order, either."""
        (container,) = self._containers(service)
        self.client.api.start(container)

    def process(self, service: str) -> int:
        """Return the process of a container of the project, 0 for one that does not run."""
        (container,) = self._containers(service)
        return int(self.client.api.inspect_container(container)["State"]["Pid"])

    def healthy(self) -> None:
        """Wait until the server's own check says that it serves."""
        end = time.monotonic() + 120
        while True:
            (container,) = self._containers("deploy")
            state = self.client.api.inspect_container(container)["State"]
            if state.get("Health", {}).get("Status") == "healthy":
                return
            assert time.monotonic() < end, self.logs()
            time.sleep(0.2)

    # -- the end

    def traces(self) -> list[str]:
        """Name what the engine has of the project."""
        label: dict[str, str | list[str] | bool] = {"label": f"com.docker.compose.project={self.project}"}
        found = [f"container {c.name}" for c in self.client.containers.list(all=True, filters=label)]
        found += [f"volume {v.name}" for v in self.client.volumes.list(filters=label)]
        return found + [f"network {n.name}" for n in self.client.networks.list(filters=label)]

    def close(self) -> None:
        """Take everything down, also after a failure in the middle."""
        try:
            with suppress(subprocess.TimeoutExpired):
                down = ["docker", "compose", "down", "-v", "--remove-orphans", "--rmi", "local", "-t", "3"]
                subprocess.run(down, **self._options(self.compose, self.environ), timeout=60, check=False)
        finally:
            self.shop.close()
            with suppress(docker.errors.ImageNotFound):
                self.client.images.remove(self.base, force=True)

    # -- parts

    @staticmethod
    def _asked(url: str, within: float) -> requests.Response:
        end = time.monotonic() + within
        while True:
            try:
                return requests.get(url, headers={"Host": HOST}, timeout=10)
            except requests.ConnectionError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def _containers(self, service: str) -> list[str]:
        labels = [f"com.docker.compose.project={self.project}", f"com.docker.compose.service={service}"]
        return [str(c.id) for c in self.client.containers.list(all=True, filters={"label": labels})]

    def _command(self, arguments: tuple[str, ...]) -> list[str]:
        return [DEPLOY, "--ca", str(self.compose / "tls.pem"), *arguments, "--service", self.shop.name]

    def _client(self, pipe: int | None = None) -> dict[str, Any]:
        return self._options(self.folder, {**self.environ, "DEPLOYER_TOKEN": self.token}, pipe)

    @staticmethod
    def _options(folder: Path, environ: dict[str, str], pipe: int | None = None) -> dict[str, Any]:
        shared = {"cwd": folder, "env": environ, "text": True, "stdin": subprocess.DEVNULL}
        return {**shared, "stdout": pipe or subprocess.PIPE, "stderr": pipe or subprocess.PIPE}

    def _run(
        self, command: list[str], folder: Path, seconds: int, environ: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, **self._options(folder, environ), timeout=seconds, check=False)
        assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done


def _python() -> str:
    """Return the version of the Python that the image gets."""
    command = ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

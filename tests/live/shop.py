"""A service of a test: its manifest, its versions, the command `deploy` as a user would call it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import docker
import docker.errors
import requests
import yaml

from deployer.app.local import LocalApp, at
from tests.forked import FORKS
from tests.lab import image
from tests.live.told import Told
from tests.ports import free_port

Kind = Literal["docker", "process"]
DEPLOY = str(Path(sys.executable).with_name("deploy"))
COMMAND_SECONDS = 180


class Shop:
    """One service in a folder and state folder of its own; a command has so many seconds."""

    seconds = COMMAND_SECONDS

    def __init__(self, folder: Path, kind: Kind, client: docker.DockerClient | None) -> None:
        self.folder, self.kind, self.client = folder, kind, client
        self.name = f"t{secrets.token_hex(4)}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.state = folder / "state"
        self.program = "c" if image.binary() else "python"  # which of the two test apps runs as a process
        self.environ: dict[str, str] = {}  # what the command finds in its environment besides
        self._images: list[str] = []
        self.manifest: dict[str, Any] = {
            "service": self.name,
            "image": self.name if kind == "docker" else "releases/{version}",
            "port": 8080,
            "runtime": kind,
            "replicas": 2,
            "health": {"http": "/health", "interval": "200ms", "deadline": "10s"},
            "stop": {"drain": "10s", "grace": "5s"},
            "traffic": {"listen": f"127.0.0.1:{self.port}"},
            "judge": {"requests": 5},
            "strategy": {"canary": {"steps": [10, 50], "for": "2s", "bake": "1s"}},
        }
        if kind == "process":
            self.manifest["command"] = ["sh", "./run"]

    def write(self, **changes: Any) -> None:
        """Write the manifest, with top-level keys changed for good."""
        self.manifest.update(changes)
        (self.folder / "deploy.yml").write_text(yaml.safe_dump(self.manifest, sort_keys=False))

    def version(self, version: str, env: Mapping[str, str] | None = None) -> None:
        """Make a version of the test app with this behaviour (see tests/lab/app.c); it ends as a good one does."""
        env = {"DRAIN": "3000", **(env or {})}
        if self.kind == "docker":
            self._images.append(image.build(f"{self.name}:{version}", version=version, env=env, client=self.client))
            return
        target = self.folder / "releases" / version
        command = image.directory(target, self.program)
        settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in {"VERSION": version, **env}.items())
        (target / "run").write_text(f"{settings} exec {shlex.join(command)}\n")

    def live(self, version: str, env: Mapping[str, str] | None = None, **traffic: Any) -> None:
        """Make a version and bring it to all users, with these settings of the traffic: they hold for the next one."""
        self.manifest["traffic"].update(traffic)
        self.write()
        self.version(version, env)
        self.deploy("bluegreen", "--bake", "0", "--version", version)

    # -- the command

    def command(self, *arguments: str) -> list[str]:
        return [DEPLOY, *arguments, "--state", str(self.state)]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "NO_COLOR": "1", "COLUMNS": "200", **self.environ}

    def deploy(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run `deploy ARGUMENTS` in the folder of the manifest and check its exit code."""
        done = self._run(*arguments)
        said = f"deploy {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.returncode == expect, said
        assert "Traceback" not in done.stderr, said
        return done

    def told(self, *arguments: str, expect: int | tuple[int, ...] = 0) -> Told:
        """Run `deploy ARGUMENTS` and give the events of its rollout; it must end with (one of) these exit codes."""
        done = self._run(*arguments, "--output", "json")
        told = Told.of(done.stdout)
        said = f"deploy {' '.join(arguments)}: exit {done.returncode}\n{told.text()}\n{done.stderr}"
        assert done.returncode in (expect if isinstance(expect, tuple) else (expect,)), said
        return told

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, environ = self.command(*arguments), self.environment()
        if "PYTHONPATH" in self.environ:  # what is there is only run by a start of Python
            return subprocess.run(
                command,
                cwd=self.folder,
                env=environ,
                timeout=self.seconds,
                capture_output=True,
                text=True,
                check=False,
            )
        return FORKS.run(command, cwd=self.folder, env=environ, timeout=self.seconds)

    @contextmanager
    def start(self, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        """Run `deploy ARGUMENTS` beside the test; it is killed at the end if it still runs."""
        process = subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=60)

    def events(self, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
        """Run `deploy ARGUMENTS --output json` and give what it printed."""
        done = self.deploy(*arguments, "--output", "json", expect=expect)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def status(self) -> dict[str, Any]:
        """Return `deploy status` as data."""
        return self.events("status")[0]

    def wait(self, ready: Callable[[dict[str, Any]], bool], what: str, seconds: float = 60.0) -> dict[str, Any]:
        """Look at the status until it is as wanted."""
        end = time.monotonic() + seconds
        while True:
            status = self._look()
            if ready(status):
                return status
            assert time.monotonic() < end, f"{what}: not within {seconds:g} s: {status}"
            time.sleep(0.1)

    def _look(self) -> dict[str, Any]:
        """Return what `status` does, without a process where nothing depends on the environment of the command."""
        if self.environ or "hosts" in self.manifest:
            return self.status()
        with LocalApp(at(self.state)) as app:
            found: dict[str, Any] = json.loads(json.dumps(app.status(self.name).to_dict(), default=str))
            return found

    def instances(self, version: str) -> list[str]:
        """Names of the instances of a version, as the status has them."""
        found = [e for e in self.status()["environments"] if e["version"] == version]
        return [instance["name"] for e in found for instance in e["instances"]]

    # -- users

    def get(self, path: str = "/version", **headers: str) -> requests.Response:
        """Send one request of a new client."""
        return requests.get(self.url + path, headers=headers, timeout=10)

    def containers(self) -> list[str]:
        """Names of this service's containers, whatever their state."""
        if self.client is None:
            return []
        label = f"deployer.service={self.name}"
        found = self.client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return sorted(str(c.name) for c in found)

    # -- the end

    def close(self) -> None:
        """Take everything down, also after a failure in the middle."""
        try:
            self._end()
        finally:
            if self.client is not None:
                for name in self.containers():
                    with suppress(docker.errors.NotFound):
                        self.client.containers.get(name).remove(force=True, v=True)
                for identity in self._images:
                    image.remove(identity, self.client)

    def _end(self) -> None:
        if not self.state.exists():
            return
        down, abort = ("down", "-y", "--service", self.name), ("abort", "--service", self.name)
        if self._run(*down).returncode != 0:  # a rollout is in progress
            self._run(*abort)
            self._run(*down)

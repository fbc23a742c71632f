"""The page "From Docker Compose", typed as it is: from a project to a deploy, and the port without downtime."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
import requests

from deployer.core.clock import Deadline, SystemClock
from deployer.planning import release_record
from tests.documents import REPOSITORY, blocks
from tests.lab import image
from tests.live.outside import Outside
from tests.live.outside import outside as network
from tests.live.shop import DEPLOY
from tests.load import Load, Options
from tests.ports import free_port
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("compose-project")]  # its service is called web, as on the page

PAGE = REPOSITORY / "docs" / "from-compose.md"
TOKEN = "a-token-that-no-output-has"
DOCKERFILE = 'FROM scratch\nCOPY app /\nENV VERSION={version} DRAIN=3000\nENTRYPOINT ["/app"]\n'
FAST = "strategy: {canary: {steps: [10, 50], for: 2s, bake: 1s}}\njudge: {requests: 5}\n"
# Of a connection that is kept open, the old container resets what is idle when it ends, as at each restart of it.
OF_NEW_CONNECTIONS = Options(kinds=("fresh", "slow"), rate=60)
USERS = Options(kinds=("fresh", "busy", "sticky", "post", "paused"), rate=60)
SECONDS = 180


def block(mark: str) -> str:
    return next(each.text for each in blocks(PAGE) if mark in each.marks)


@dataclass
class Project:
    """The project of the page, in a Git work tree of its own, at ports of its own."""

    folder: Path
    port: int
    bridge: int
    address: str = "127.0.0.1"

    @property
    def name(self) -> str:
        return self.folder.name

    def write(self) -> None:
        require("gcc")
        program = image.binary()
        assert program is not None
        shutil.copy(program, self.folder / "app")
        text = block("compose").replace("redis:7", f"redis:{self.name}")
        text = text.replace('"8080:8080"', f'"{self.address}:{self.port}:8080"')
        (self.folder / "compose.yaml").write_text(text)
        (self.folder / ".env").write_text(f"LOG_LEVEL=info\nAPI_TOKEN={TOKEN}\n")
        (self.folder / ".gitignore").write_text(".env\nstate\n")
        self.run("git init -q")
        self.change("1.0")

    def change(self, version: str) -> None:
        (self.folder / "Dockerfile").write_text(DOCKERFILE.format(version=version))
        self.run(f"git add -A && git -c user.name=a -c user.email=a@example.com commit -q -m {version}")

    def typed(self, text: str) -> str:
        """Return commands of the page for this project: its ports, its names, its state folder."""
        for old, new in (
            ("18080", str(self.bridge)),
            ("--dport 8080", f"--dport {self.port}"),
            ("bridge", f"{self.name}-b"),
        ):
            text = text.replace(old, new)
        return text

    def run(self, command: str, **more: str) -> str:
        """Run a line in a shell; return what it printed."""
        environ = {**os.environ, "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}", "NO_COLOR": "1", **more}
        environ["DEPLOYER_STATE"] = str(self.folder / "state")
        done = subprocess.run(
            ["bash", "-ec", command], cwd=self.folder, env=environ, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert TOKEN not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def close(self, engine: docker.DockerClient) -> None:
        for line in ("deploy abort --service web", "deploy down -y --service web", "docker compose down -v -t 1"):
            subprocess.run(
                ["bash", "-c", line],
                cwd=self.folder,
                env={
                    **os.environ,
                    "PATH": f"{Path(DEPLOY).parent}:{os.environ['PATH']}",
                    "DEPLOYER_STATE": str(self.folder / "state"),
                },
                capture_output=True,
                timeout=SECONDS,
            )
        for found in engine.containers.list(all=True, filters={"name": f"{self.name}-b"}):
            found.remove(force=True)
        for tag in (f"redis:{self.name}", f"{self.name}-web"):
            for built in engine.images.list(tag):
                image.remove(str(built.id), engine)


@pytest.fixture
def project(state: Path, engine: docker.DockerClient) -> Iterator[Project]:
    require("buildx")
    require("compose")
    require("haproxy")
    image.build(f"redis:{state.name}", client=engine)
    made = Project(state, free_port(), free_port())
    try:
        yield made
    finally:
        made.close(engine)


def environment_of(engine: docker.DockerClient, project: Project) -> Mapping[str, str]:
    """Return the variables of an instance, and check that it is in the network of the project."""
    (instance,) = engine.containers.list(
        filters={"label": ["deployer.service=web", f"deployer.home={release_record.home(project.folder / 'state')}"]}
    )
    assert f"{project.name}_default" in instance.attrs["NetworkSettings"]["Networks"]
    return dict(each.split("=", 1) for each in instance.attrs["Config"]["Env"])


@pytest.mark.long("a first deploy and a canary under load, as a new user types them", every_change=True)
def test_from_a_project_to_a_canary(project: Project, engine: docker.DockerClient) -> None:
    project.write()
    said = [project.run(project.typed(line)) for line in block("five").splitlines()]

    assert "wrote deploy.yml: service web" in said[0]
    assert f"instances reach it as cache in the network {project.name}_default" in said[0]
    assert "promote" in said[2]
    variables = environment_of(engine, project)
    assert (variables["LOG_LEVEL"], variables["CACHE_URL"]) == ("info", "redis://cache:6379")
    assert variables["API_TOKEN"] == TOKEN
    with (project.folder / "deploy.yml").open("a") as manifest:
        manifest.write(FAST)
    project.change("2.0")
    with Load(f"http://127.0.0.1:{project.port}", USERS) as load:
        load.until(lambda now: now.answered > 100, "the load has started")
        project.run("deploy up")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0", "2.0"}
    status = json.loads(project.run("deploy status --service web --output json"))
    assert status["share"] == 0


@pytest.fixture
def outside(project: Project) -> Iterator[Outside]:
    with network(project.name, project.port, project.typed(block("takeover")).splitlines()) as users:
        yield users


@pytest.mark.long("a project of Compose that is taken over under load")
def test_the_port_is_taken_over_without_downtime(
    project: Project, outside: Outside, engine: docker.DockerClient
) -> None:
    project.address = "0.0.0.0"
    project.write()
    project.run("docker compose up -d --quiet-pull")
    answers(f"http://127.0.0.1:{project.port}/health")
    project.change("2.0")
    project.run("deploy init --from compose.yaml")
    lines = [project.typed(line) for line in block("takeover").splitlines()]
    with Load(outside.url, OF_NEW_CONNECTIONS, outside.inside) as load:
        load.until(lambda now: now.answered > 100, "the load has started")
        for line in lines:
            project.run(line)
            if " run -d " in line:
                answers(f"http://127.0.0.1:{project.bridge}/health")
            load.mark(line[:20])
        seen = load.counters().answered
        load.until(lambda now: now.answered > seen + 200, "requests after it", 30)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0", "2.0"}
    names = {each.name for each in engine.containers.list(filters={"name": project.name})}
    assert names == {f"{project.name}-cache-1"}


def answers(url: str) -> None:
    deadline = Deadline.after(SystemClock(), 60.0)

    def ready() -> bool:
        with suppress(requests.ConnectionError, requests.Timeout):
            return requests.get(url, timeout=5).ok
        return False

    deadline.until(ready, url)

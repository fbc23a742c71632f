"""Workers in real containers: jobs are neither lost nor done twice, and a single one never runs beside another."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.documents import REPOSITORY, blocks
from tests.lab import image
from tests.lab.archive import Image, layer
from tests.live.test_docs import environment, follow, typed
from tests.services import require
from tests.waiting import within

pytestmark = pytest.mark.live


class Queue:
    """A folder of jobs, an image for each version of a worker, and the command line."""

    def __init__(self, folder: Path, engine: docker.DockerClient) -> None:
        self.folder, self.engine, self.name = folder, engine, f"queue-{secrets.token_hex(4)}"
        self.jobs = folder / "jobs"
        for part in ("new", "taken", "done"):
            (self.jobs / part).mkdir(parents=True)
        program = image.binary("worker")
        assert program is not None
        self._layers = (layer([(program, "/worker")]),)
        self.images: list[str] = []

    def build(self, version: str, **env: str) -> None:
        reference = f"{self.name}:{version}"
        made = Image(self._layers, entrypoint=("/worker",), env={"VERSION": version, **env}, labels={"of": reference})
        (loaded,) = self.engine.images.load(made.archive(reference))
        self.images.append(str(loaded.id))

    def manifest(self, more: str) -> None:
        mounts = f"mounts: [{{source: '{self.jobs}', target: /jobs}}]"
        text = f"service: {self.name}\nimage: {self.name}\nhealth: {{running: 0.5s}}\n{mounts}\n{more}\n"
        (self.folder / "deploy.yml").write_text(text)

    def put(self, name: str, what: str = "20") -> None:
        """Add a job that takes so many ms, or, if it is to `hold`, until `let_go`."""
        (self.jobs / f".{name}").write_text(what)
        (self.jobs / f".{name}").rename(self.jobs / "new" / name)

    def start(self, *words: str) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name("deploy")), *words]
        env = {**os.environ, "DEPLOYER_STATE": str(self.folder / "state")}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=self.folder, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True)

    def deploy(self, *words: str, code: int = 0) -> str:
        with self.start(*words) as process:
            said = process.communicate(timeout=300)[0]
        assert process.returncode == code, said
        return said

    def done(self) -> dict[str, list[str]]:
        """Which versions finished each job."""
        found: dict[str, list[str]] = {}
        log = self.jobs / "log"
        for line in log.read_text().splitlines() if log.exists() else ():
            job, version = line.split()
            found.setdefault(job, []).append(version)
        return found

    def let_go(self) -> None:
        (self.jobs / "go").touch()

    def until_taken(self, name: str) -> None:
        within(60).until(lambda: (self.jobs / "taken" / name).exists(), f"{name} is taken")

    def containers(self) -> list[str]:
        label = f"deployer.service={self.name}"
        found = self.engine.containers.list(all=True, filters={"label": label}, ignore_removed=True)
        return [str(container.name) for container in found]

    def close(self) -> None:
        for name in self.containers():
            self.engine.containers.get(name).remove(force=True, v=True)
        for identity in self.images:
            image.remove(identity, self.engine)


def until_line(process: subprocess.Popen[str], words: str) -> None:
    """Read what a command prints up to a line with these words."""
    assert process.stdout is not None
    assert any(words in line for line in process.stdout), "the command ended before"


@pytest.fixture
def queue(state: Path, engine: docker.DockerClient) -> Iterator[Queue]:
    require("gcc")
    made = Queue(state, engine)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.long("real containers, with a job that takes its time", every_change=True)
def test_the_old_worker_finishes_its_job_and_none_is_lost_or_done_twice(queue: Queue) -> None:
    queue.build("1.0")
    queue.build("2.0")
    queue.build("3.0", EXIT="3")
    queue.manifest("replicas: 2\nstop: {grace: 30m}\nstrategy: {canary: {for: 1s, bake: 0s}}")
    queue.deploy("up", "--version", "1.0")
    queue.put("long", "hold")
    queue.until_taken("long")
    for number in range(20):
        queue.put(f"j{number}")

    with queue.start("up", "--version", "2.0") as process:
        until_line(process, "to end, up to 30 min from the signal")
        assert "long" not in queue.done()
        queue.let_go()
        said = process.communicate(timeout=300)[0]
    assert process.returncode == 0, said

    done = queue.done()
    assert done["long"] == ["1.0"], "the old worker ended its job"
    assert {job: len(by) for job, by in done.items()} == dict.fromkeys(["long", *(f"j{n}" for n in range(20))], 1)
    assert not any((queue.jobs / "new").iterdir())
    assert len(queue.containers()) == 2

    said = queue.deploy("up", "--version", "3.0", code=4)
    assert "exited with code 3" in said
    assert "no broker at amqp://queue: connection refused" in said
    assert sorted(queue.containers()) == [f"{queue.name}-r2-1", f"{queue.name}-r2-2"]


@pytest.mark.long("real containers, stopped and started one after the other")
def test_a_single_one_never_runs_beside_another_killed_or_not(queue: Queue) -> None:
    for version in ("1.0", "2.0"):
        queue.build(version, LOCK="1")
    queue.manifest("single: true\nstop: {grace: 2m}")
    queue.deploy("up", "--version", "1.0")
    queue.put("begun", "hold")
    queue.until_taken("begun")

    with queue.start("up", "--version", "2.0") as process:
        until_line(process, "to end, up to 2 min from the signal")
        process.kill()
    queue.let_go()
    said = queue.deploy("resume")
    assert "no instance was running for" in said
    assert "no instance was running for" in queue.deploy("rollback")

    assert not (queue.jobs / "twice").exists()
    assert queue.done() == {"begun": ["1.0"]}
    assert queue.containers() == [f"{queue.name}-r1-1"]


@pytest.mark.long("real containers that write a log")
def test_lines_of_the_log_beyond_their_limit_roll_it_back(queue: Queue) -> None:
    queue.build("1.0", JOBS="/elsewhere")  # so that the new one gets the job
    queue.build("2.0", FAIL="1")
    metric = '{name: failed jobs, logs: "^ERROR", max: 0, interval: 0.5s, failures: 1}'
    queue.manifest(f"strategy: {{canary: {{for: 20s}}}}\njudge: {{metrics: [{metric}]}}")
    queue.deploy("up", "--version", "1.0")
    queue.put("one")

    said = queue.deploy("up", "--version", "2.0", code=3)

    assert "failed jobs" in said
    assert Counter(queue.containers()) == {f"{queue.name}-r1-1": 1}


@pytest.mark.long("every command of the page, as it stands")
def test_the_page(queue: Queue) -> None:
    page = typed("docs/workers.md")
    (manifest,) = (b.text for b in blocks(REPOSITORY / "docs" / "workers.md") if "worker" in b.marks)
    swap = {"registry.example.com/mailer": queue.name, "mailer": queue.name}
    for old, new in {**swap, "command: [bin/worker]": f"mounts: [{{source: '{queue.jobs}', target: /jobs}}]"}.items():
        assert old in manifest
        manifest = manifest.replace(old, new)
    (queue.folder / "deploy.yml").write_text(f"{manifest}strategy: {{canary: {{for: 2s, bake: 1s}}}}\n")
    queue.build("1.0")
    queue.build("2.0")
    with environment(queue.folder) as env:
        follow("docs/workers.md", page, queue.folder, env, swap)
    assert queue.containers() == []

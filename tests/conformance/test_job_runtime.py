"""What every runtime promises of runs of jobs (deployer/drivers/jobs.py), tried on each one with real runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.jobs import FoundRun, JobRuntime, JobSpec
from deployer.drivers.runtime.docker import DockerRuntime
from deployer.drivers.runtime.process.jobs import ProcessJobs
from deployer.model import Release
from tests.conformance.runtimes import Bench, DockerBench, ProcessBench
from tests.waiting import within


class JobBench:
    """A runtime with the port for its jobs."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.jobs = self.another("first")

    def another(self, installation: str) -> JobRuntime:
        """Return the port as another state folder on this host would have it."""
        if isinstance(self.bench, ProcessBench):
            return ProcessJobs(self.bench.folder / installation, SystemClock(), installation)
        return cast(DockerRuntime, self.bench.another(installation)).jobs

    def release(self, *words: str) -> Release:
        """Make a release whose job is the test app with these words, or another program."""
        program = () if self.bench.kind == "docker" or words[0].startswith("./") else self.bench.program()
        job = {"cron": "@daily", "command": [*program, *words], "env": {"GREETING": "hello"}}
        return self.bench.release(schedule={"nightly": job})

    def start(self, *words: str) -> JobSpec:
        """Start a run of it."""
        spec = JobSpec(self.release(*words), "nightly", 5)
        self.jobs.start(spec, within())
        return spec

    def printed(self, spec: JobSpec) -> bytes:
        """Follow a run to its end; return what it printed."""
        chunks: list[bytes] = []
        self.jobs.follow(spec.name, "", chunks.append, within(), lambda: False)
        return b"".join(chunks)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.live)])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobBench]:
    """Yield every implementation in turn."""
    docker = request.param == "docker"
    made: Bench = DockerBench(request.getfixturevalue("engine")) if docker else ProcessBench(tmp_path)
    bench = JobBench(made)
    try:
        yield bench
    finally:
        for run in bench.jobs.list_all():
            bench.jobs.remove(run.name, run.host, 0.0, within())
        made.close()


def test_a_run_prints_and_ends_and_is_read_back_until_it_is_removed(bench: JobBench) -> None:
    spec = bench.start("env", "GREETING")
    assert bench.printed(spec) == b"hello\n"
    assert bench.printed(spec) == b"hello\n", "all of it, as often as it is asked for"
    ended = FoundRun(bench.bench.service, "nightly", 5, "exited", 0)
    assert bench.jobs.read(spec.name, "") == ended
    assert bench.jobs.list_all() == (ended,)
    bench.jobs.remove(spec.name, "", 0.0, within())
    assert bench.jobs.read(spec.name, "") is None
    bench.jobs.remove(spec.name, "", 0.0, within())


def test_the_exit_code_is_that_of_the_command(bench: JobBench) -> None:
    spec = bench.start("cat", "/no/such/file")
    bench.printed(spec)
    found = bench.jobs.read(spec.name, "")
    assert found is not None
    assert found.state == "exited"
    assert found.exit_code


def test_a_run_is_left_when_it_is_asked_for_and_ended_when_it_is_removed(bench: JobBench) -> None:
    spec = bench.start("sleep", "600")
    bench.jobs.follow(spec.name, "", lambda _chunk: None, within(), lambda: True)
    assert bench.jobs.read(spec.name, "") == FoundRun(bench.bench.service, "nightly", 5, "running")
    bench.jobs.remove(spec.name, "", 0.0, within())
    assert bench.jobs.list_all() == ()


def test_a_run_is_no_instance_and_its_release_is_kept_while_it_is_there(bench: JobBench) -> None:
    spec, runtime = bench.start("sleep", "600"), bench.bench.runtime
    assert runtime.instances(bench.bench.service) == ()
    assert runtime.foreign(bench.bench.service) == ()
    assert runtime.prune((), (spec.release,)) == ()
    bench.jobs.remove(spec.name, "", 0.0, within())
    assert runtime.prune((), (spec.release,)) != ()


def test_of_what_does_not_start_nothing_is_left(bench: JobBench) -> None:
    release = bench.release("./no-such-program")
    if bench.bench.kind == "docker":
        release = bench.bench.release(schedule={"nightly": {"cron": "@daily", "command": ["x"], "entrypoint": ["/no"]}})
    with pytest.raises(DriverFailed):
        bench.jobs.start(JobSpec(release, "nightly", 5), within())
    assert bench.jobs.list_all() == ()


def test_runs_of_another_installation_are_not_seen(bench: JobBench) -> None:
    bench.start("sleep", "600")
    assert bench.another("second").list_all() == ()

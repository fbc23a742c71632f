"""Scheduled jobs as a user meets them: on a real engine and as processes, with the commands of docs/jobs.md."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from contextlib import closing

import pytest
import yaml

from tests.documents import REPOSITORY, blocks, commands
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live

# What the job prints, before it waits for a test and says whether it had to
NIGHTLY = """\
#!/bin/sh
echo "3 invoices sent"
[ -e {wait} ] || exit 0
while [ -e {wait} ]; do sleep 0.05; done
exit 9
"""
PAGE = REPOSITORY / "docs" / "jobs.md"


def just_now() -> str:
    """Return the expression of a time that was due two minutes ago, and is due again in a day."""
    return time.strftime("%M %H * * *", time.gmtime(time.time() - 120))


def make_due(shop: Shop) -> None:
    """Let the due times of the last hour be such that nobody has dealt with."""
    with closing(sqlite3.connect(shop.state / "deployer.db")) as db, db:
        assert db.execute("update job_times set until = until - 3600").rowcount


def runs(shop: Shop, job: str) -> list[tuple[str, str, int | None]]:
    """Return version, outcome and exit code of the runs of a job, the oldest first."""
    told = json.loads(shop.deploy("jobs", "--output", "json").stdout)
    (found,) = (each["runs"] for each in told["jobs"] if each["name"] == job)
    return [(run["version"], run["outcome"], run["exit"]) for run in reversed(found)]


@pytest.mark.long("two deploys on an engine", every_change=True)
def test_a_job_runs_once_at_its_time_on_the_release_that_is_live(make_shop: Make) -> None:
    shop = make_shop("docker")
    shop.write(schedule={"tell": {"cron": just_now(), "command": ["env", "VERSION"]}}, replicas=1)
    shop.live("1.0")
    assert shop.client is not None
    assert "nothing does what `schedule`" in shop.deploy("status").stdout
    shop.deploy("jobs", "--run-due")  # from now on
    make_due(shop)
    both = [subprocess.Popen(shop.command("jobs", "--run-due"), cwd=shop.folder, env=shop.environment()) for _ in "ab"]
    assert [each.wait(120) for each in both] == [0, 0]
    assert runs(shop, "tell") == [("1.0", "done", 0)]
    assert shop.deploy("logs", "--job", "tell").stdout == f"{shop.name}.tell.1 | 1.0\n"
    assert "nothing does what `schedule`" not in shop.deploy("status").stdout
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    make_due(shop)
    shop.deploy("jobs", "--run-due")
    assert runs(shop, "tell")[-1] == ("2.0", "done", 0)
    left = shop.client.containers.list(all=True, filters={"label": f"deployer.job.service={shop.name}"})
    assert left == []


@pytest.fixture
def nightly(make_shop: Make) -> Shop:
    """Return a service of processes whose jobs are those of docs/jobs.md."""
    shop = make_shop("process")
    shop.program = "c"
    (page,) = (yaml.safe_load(b.text) for b in blocks(PAGE) if "jobs" in b.marks and b.language == "yaml")
    shop.write(replicas=1, **page)
    release = shop.folder / "releases" / "1.0" / "bin"
    release.mkdir(parents=True)
    (release / "nightly").write_text(NIGHTLY.format(wait=shop.folder / "wait"))
    (release / "nightly").chmod(0o755)
    shop.live("1.0")
    return shop


def test_the_commands_of_the_page_do_what_it_says(nightly: Shop) -> None:
    said = {}
    for command in (c for b in blocks(PAGE) if "jobs" in b.marks and b.language == "console" for c in commands(b)):
        deploy, *arguments = command.text.split()
        assert deploy == "deploy"
        said[" ".join(arguments)] = nightly.deploy(*arguments).stdout
    assert said["run nightly"] == "3 invoices sent\n"
    assert "10 3 * * *  Europe/Berlin" in said["jobs"]
    assert "done" in said["jobs"]
    assert said["logs --job nightly"] == f"{nightly.name}.nightly.1 | 3 invoices sent\n"
    assert said["jobs --run-due"] == ""


@pytest.mark.long("processes that are started, killed and found again")
def test_a_run_whose_deployer_was_killed_is_found_and_no_second_one_starts(nightly: Shop) -> None:
    wait = nightly.folder / "wait"
    wait.touch()
    with nightly.start("run", "nightly") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "3 invoices sent\n"
        locked = nightly.deploy("run", "nightly", expect=5)
        assert "nightly of" in locked.stderr
        process.kill()
        process.wait(30)
    assert runs(nightly, "nightly") == [("1.0", "", None)], "it goes on"
    assert "the run goes on" in nightly.deploy("doctor").stdout
    with nightly.start("jobs", "--run-due") as found:
        wait.unlink()
        assert found.wait(120) == 4, "it ended with 9"
    assert runs(nightly, "nightly") == [("1.0", "failed", 9)]
    assert list((nightly.state / "jobs").iterdir()) == []


@pytest.mark.long("two servers")
def test_of_two_servers_one_runs_what_is_due(make_shop: Make) -> None:
    shop = make_shop("process")
    shop.program = "c"
    job = {"cron": just_now(), "command": ["./app", "env", "VERSION"], "env": {"VERSION": "of the job"}}
    shop.write(replicas=1, schedule={"tell": job})
    shop.live("1.0")
    shop.deploy("jobs", "--run-due")
    make_due(shop)
    with (
        shop.start("serve", "--listen", f"127.0.0.1:{free_port()}"),
        shop.start("serve", "--listen", f"127.0.0.1:{free_port()}"),
    ):
        within(180).until(lambda: runs(shop, "tell") == [("1.0", "done", 0)], "no server ran it")
        assert "nothing does what `schedule`" not in shop.deploy("status").stdout
    assert runs(shop, "tell") == [("1.0", "done", 0)]
    assert shop.deploy("logs", "--job", "tell").stdout == f"{shop.name}.tell.1 | of the job\n"

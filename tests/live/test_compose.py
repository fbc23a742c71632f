"""`deploy serve` and a team's HAProxy by Docker Compose, as `examples/compose` has them, with real users."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from deployer.core.clock import Deadline, SystemClock
from tests.conftest import state_folder
from tests.live.composed import HOST, Composed
from tests.live.told import Told
from tests.load import Load, Options
from tests.services import require

pytestmark = [pytest.mark.live, pytest.mark.xdist_group("compose")]

USERS = Options(rate=60, kinds=("fresh", "busy", "sticky", "post"), host=HOST)
WAITS = "is in progress and waits: "
TEAM = Options(rate=20, kinds=("fresh",), version_pattern="(the team)")


@pytest.fixture(scope="module")
def stack(engine: docker.DockerClient) -> Iterator[Composed]:
    """Yield the running project, with version 1.0 of its service live."""
    require("compose", "debian", "haproxy")
    with state_folder(Path("/tmp")) as folder:
        composed = Composed(folder, engine)
        try:
            composed.prepare()
            composed.up()
            for version, env in (("1.0", {}), ("2.0", {}), ("bad", {"ERR": "0.6"})):
                composed.shop.version(version, env)
            yield composed
        finally:
            composed.close()
        assert composed.traces() == []


@pytest.fixture
def live(stack: Composed) -> Composed:
    """Return the project with version 1.0 live for everyone, and a short canary in its manifest."""
    stack.manifest(
        strategy={"canary": {"steps": [{"share": 10, "for": "2s"}, {"share": 50, "for": "2s"}], "bake": "0s"}}
    )
    stack.deploy("bluegreen", "--bake", "0", "--version", "1.0")
    return stack


def until(process: Any, kind: str) -> list[dict[str, Any]]:
    """Read what a process prints as JSON, up to an event."""
    found = []
    for line in process.stdout:
        found.append(json.loads(line))
        if found[-1]["event"] == kind:
            return found
    raise AssertionError(f"it ended: {process.stderr.read()}")


def rest(process: Any) -> list[dict[str, Any]]:
    """Read the rest, up to a good end."""
    out, err = process.stdout.read(), process.stderr.read()
    assert process.wait(60) == 0, out + err
    return [json.loads(line) for line in out.splitlines()]


@pytest.mark.long("a whole canary in containers of Compose", every_change=True)
def test_a_canary_goes_live_and_nobody_notices(live: Composed) -> None:
    with Load(live.shop.url, USERS) as load, Load(f"http://127.0.0.1:{live.team_port}", TEAM) as team:
        load.until(lambda now: now.answered > 30, "the load runs")
        told = Told.of(live.deploy("canary", "--version", "2.0", "-m", "from afar", "--output", "json").stdout)
        load.mark("promoted")
        at_promotion = load.counters().answered
        load.until(lambda now: now.answered > at_promotion + 50, "users of the new release")
        report, theirs = load.stop(), team.stop()
    assert told.ended["outcome"] == "done"
    assert [share for share in told.shares if share] == [1000, 5000]
    assert report.failed == 0, report.text()
    assert theirs.failed == 0, theirs.text()
    assert set(report.only("fresh", "busy", "post").after("promoted").by_version) == {"2.0"}
    assert live.team() == "the team"


def test_instances_are_siblings_on_the_same_engine(live: Composed) -> None:
    status = live.status()
    known = sorted(i["name"] for environment in status["environments"] for i in environment["instances"])
    assert known == live.shop.containers()
    assert f"{live.shop.name}-r{status['stable']}-1" in known
    assert status["stable_version"] == "1.0"
    inside = json.loads(live.inside("status", "--service", live.shop.name, "--output", "json"))
    assert inside["stable_version"] == "1.0", "people in the container see what clients see"
    assert "✓ HAProxy" in live.inside("doctor")


@pytest.mark.long("a canary until it is found bad")
def test_a_bad_release_is_taken_back(live: Composed) -> None:
    with Load(live.shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        order = ("canary", "--percent", "50", "--for", "30s", "--version", "bad")
        done = live.deploy(*order, expect=3)
        load.mark("back")
        seen = load.counters().answered
        load.until(lambda now: now.answered > seen + 50, "users of the old release again")
        report = load.stop()
    assert "was rolled back: " in done.stdout
    assert report.after("back").failed == 0, report.text()
    assert set(report.after("back").by_version) == {"1.0"}
    assert live.status()["stable_version"] == "1.0"


@pytest.mark.long("a canary through a restart")
def test_a_rollout_goes_on_when_the_server_is_restarted(live: Composed) -> None:
    live.manifest(strategy={"canary": {"steps": [{"share": 30, "for": "30s"}], "bake": "0s"}})
    with Load(live.shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        with live.start("canary", "--version", "2.0", "--output", "json") as follower:
            begun = until(follower, "sample")
            before = live.process("deploy")
            live.docker("restart", "deploy")
            assert live.process("deploy") != before
            live.healthy()
            shown = rest(follower)
        report = load.stop()
    assert shown[-1]["outcome"] == "done"
    assert report.failed == 0, report.text()
    assert live.status()["stable_version"] == "2.0"
    rollout = begun[0]["rollout"]
    records = json.loads(live.inside("audit", "--service", live.shop.name, "--output", "json"))["records"]
    deeds = [(r["action"], r["origin"]) for r in records if r["rollout"] == rollout]
    assert ("resume", "deploy serve, at its start") in deeds


@pytest.mark.long("a canary through two restarts")
def test_a_rollout_goes_on_when_the_proxy_comes_later_than_the_server(live: Composed) -> None:
    """As after a reboot: the server finds a rollout that nobody drives, and no proxy yet."""
    live.manifest(strategy={"canary": {"steps": [{"share": 30, "for": "20s"}], "bake": "0s"}})
    with Load(live.shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        with live.start("canary", "--version", "2.0", "--output", "json") as follower:
            begun = until(follower, "sample")
            for service in ("haproxy", "deploy"):
                live.kill(service)
            live.start_alone("deploy")
            Deadline.after(SystemClock(), 90).until(lambda: WAITS in live.logs(), "the server waits for the proxy")
            live.start_alone("haproxy")
            shown = rest(follower)
        load.mark("done")
        seen = load.counters().answered
        load.until(lambda now: now.answered > seen + 30, "users of the new release")
        report = load.stop()
    assert shown[-1]["outcome"] == "done"
    assert report.after("done").failed == 0, report.text()
    assert live.status()["stable_version"] == "2.0"
    assert f"rollout {begun[0]['rollout']} of {live.shop.name} was interrupted: continuing it" in live.logs()


def test_a_proxy_that_is_restarted_has_everything_again(live: Composed) -> None:
    before = live.process("haproxy")
    live.docker("restart", "haproxy")
    assert live.process("haproxy") != before
    assert live.get(within=60).endswith("1.0")
    live.deploy("bluegreen", "--bake", "0", "--version", "2.0")
    assert live.get().endswith("2.0")


@pytest.mark.long("it stops all containers of the project", every_change=True)
def test_down_leaves_nothing(live: Composed) -> None:
    live.deploy("down", "-y", "-m", "the test is over")
    assert live.shop.containers() == []
    live.docker("restart", "haproxy")
    assert live.team(within=60) == "the team"
    live.docker("down", "-v", "-t", "5")
    assert live.traces() == []

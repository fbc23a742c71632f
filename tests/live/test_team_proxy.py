"""A HAProxy that a team runs: it serves ours beside its own, loses nothing by it, and is as it was afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest
import requests

from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import HAProxyTraffic, command_line
from deployer.manifest.models import HAProxy, Manifest
from deployer.model import Release
from tests.live import client
from tests.live.conftest import Make
from tests.live.shop import Shop
from tests.live.team import Team
from tests.live.upstream import Upstream
from tests.load import Load, Options
from tests.waiting import within

pytestmark = pytest.mark.live

OURS = Options(rate=60, kinds=("fresh", "busy", "sticky", "post"))
THEIRS = Options(rate=40, kinds=("fresh", "busy"), version_pattern="(the team's)")


@pytest.fixture
def team(state: Path) -> Iterator[Team]:
    """Yield the team's HAProxy, not yet started."""
    with Upstream("the team's") as upstream:
        team = Team(state / "team", upstream.address)
        try:
            yield team
        finally:
            team.stop()


@pytest.fixture
def shop(team: Team, make_shop: Make) -> Shop:
    """Return a service of processes behind the team's HAProxy; nothing of it is live."""
    shop = make_shop("process")
    shop.manifest["traffic"]["haproxy"] = team.traffic()
    shop.write()
    shop.version("1.0")
    return shop


def traces(team: Team) -> list[str]:
    return sorted(path.name for path in team.config.rglob("*"))


def lines(done: CompletedProcess[str]) -> str:
    """Return what a command said, without the breaks of its tables."""
    return " ".join((done.stdout + done.stderr).split())


def more(load: Load, requests: int, what: str) -> None:
    wanted = load.counters().answered + requests
    load.until(lambda now: now.answered > wanted, what)


@pytest.mark.long("every way of deploying, under load", every_change=True)
def test_every_way_loses_nothing_of_ours_and_nothing_of_theirs(team: Team, shop: Shop) -> None:
    team.start()
    shop.version("2.0")
    with Load(team.url, THEIRS) as on_theirs:
        more(on_theirs, 20, "the team is served")
        shop.deploy("up", "--version", "1.0")
        with Load(shop.url, OURS) as on_ours:
            more(on_ours, 60, "the load runs")
            shop.deploy("canary", "--percent", "10", "--for", "2s", "--version", "2.0")
            on_ours.mark("promoted")
            more(on_ours, 100, "requests after the promotion")
            on_ours.mark("back")
            shop.deploy("rollback")
            on_ours.mark("rolled back")
            more(on_ours, 100, "requests after the rollback")
            ours = on_ours.stop()
        shop.deploy("down", "-y")
        on_theirs.mark("down")
        more(on_theirs, 50, "the team is still served")
        theirs = on_theirs.stop()

    assert ours.failed == 0, ours.text()
    plain = ours.only("fresh", "busy", "post")
    assert set(plain.by_version) == {"1.0", "2.0"}
    assert set(plain.after("promoted").before("back").by_version) == {"2.0"}
    assert set(plain.after("rolled back").by_version) == {"1.0"}

    assert theirs.failed == 0, theirs.text()
    assert set(theirs.by_version) == {"the team's"}
    assert theirs.after("down").sent > 20
    assert traces(team) == []
    with pytest.raises(requests.ConnectionError):
        shop.get()


@pytest.mark.parametrize("arguments", [("up", "--version", "1.0"), ("doctor",)], ids=lambda a: a[0])
def test_a_folder_that_is_not_loaded_is_said_before_anything_starts(
    team: Team, shop: Shop, arguments: tuple[str, ...]
) -> None:
    team.start(with_folder=False)
    worker = team.worker()
    done = shop.deploy(*arguments, expect=8 if arguments == ("doctor",) else 2)
    assert f"the HAProxy at {team.socket} runs, but not with `-f {team.config}`" in lines(done)
    assert f"add `-f {team.config}` to its command line and restart it" in lines(done)
    assert team.worker() == worker, "it was not reloaded"
    assert traces(team) == []
    assert client.get(team.port).who == "the team's"
    shop.deploy("status", expect=2)


def test_a_folder_that_is_not_loaded_is_told_when_the_command_line_cannot_be_read(
    team: Team, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in a container: its processes have other numbers there."""
    team.start(with_folder=False)
    monkeypatch.setattr(command_line, "_words", lambda _: ())
    settings = HAProxy.model_validate(team.traffic())
    traffic = HAProxyTraffic(shop.state, SystemClock(), existing=settings)
    manifest = Manifest.model_validate(shop.manifest)
    traffic.inspection.check(manifest, within())
    release = Release(shop.name, 1, "1.0", "releases/1.0", "sha256:1", manifest, "h1")
    with pytest.raises(DriverFailed, match=r"did not load .*state\.map") as failed:
        traffic.configure(release, "blue", within())
    assert "command line" in failed.value.hint
    assert traces(team) == []
    assert client.get(team.port).who == "the team's"


@pytest.mark.long("a deploy for each thing that is missing")
def test_doctor_says_what_is_missing_until_nothing_is(team: Team, shop: Shop) -> None:
    said = lines(shop.deploy("doctor", expect=8))
    assert f"there is no master socket at {team.socket}" in said
    assert f"start it with `-W -S {team.socket},mode,600`" in said
    shop.deploy("up", "--version", "1.0", expect=2)

    team.config.rmdir()
    said = lines(shop.deploy("doctor", expect=8))
    assert f"{team.config} is not a folder" in said

    team.config.mkdir()
    team.start()
    said = lines(shop.deploy("doctor"))
    assert f"{team.config} can be written" in said
    assert f"is reachable at {team.socket} with 1 worker" in said
    assert traces(team) == []

    shop.deploy("up", "--version", "1.0")
    shop.deploy("doctor")


@pytest.mark.long("a canary through the death of its proxy")
def test_a_killed_worker_comes_back_with_the_share_of_a_held_canary(team: Team, shop: Shop) -> None:
    team.start()
    shop.version("2.0")
    shop.deploy("up", "--version", "1.0")
    with Load(shop.url, OURS):
        shop.deploy("canary", "--percent", "30", "--for", "1s", "--hold", "--version", "2.0")
    before = shop.status()
    assert before["share"] == 3000
    team.kill_worker()
    after = shop.wait(lambda s: not s["problems"], "the proxy is read again")
    assert (after["share"], after["lease"]) == (3000, before["lease"])
    asked = client.burst(shop.port, 2000, host="shop")
    assert sum(asked.values()) == 2000
    candidate = sum(count for body, count in asked.items() if "2.0" in body)
    assert 480 < candidate < 720, f"not 30%, six deviations off: {asked}"
    shop.deploy("promote")
    assert {shop.get().headers["X-Version"] for _ in range(20)} == {"2.0"}

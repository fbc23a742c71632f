"""Deploys that nobody types at the host: from a laptop by ssh, and by a pipeline."""

from __future__ import annotations

import json
import os

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import Exit
from tests.acceptance.users import met, users
from tests.live.afar import kinds, recorded, rest, until
from tests.live.laptop import USERS, Laptop
from tests.live.serving import SECONDS
from tests.live.shop import Shop
from tests.live.sshd import Sshd
from tests.load import Load

pytestmark = pytest.mark.live


@pytest.fixture
def shop(process_shop: Shop) -> Shop:
    process_shop.version("2.0")
    return process_shop


@pytest.mark.long("a whole canary through ssh", every_change=True)
def test_a_canary_runs_there_and_is_shown_here(shop: Shop, laptop: Laptop, way: Sshd) -> None:
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "10m"}], "bake": "0s"}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        other = Laptop(shop, way, "other")
        with laptop.start("canary", "--version", "2.0", "-m", "from afar", "--output", "json") as first:
            begun = until(first, "sample")  # numbers come live
            with other.start("watch", "--output", "plain") as second:
                assert second.stderr is not None
                watched = second.stderr.readline()
                laptop.deploy("promote")
                shown, _ = rest(first, 0)
                watched += second.stderr.read()
                assert second.wait(SECONDS) == 0, watched
        report = load.stop()
        assert kinds(begun + shown) == kinds(recorded(shop, 2)), "all of it, and each once"
        assert max(kinds(begun + shown).values()) == 1
        assert "traffic.changed" in {event["event"] for event in begun}
        assert f"{shop.name} #2 ended: done" in watched
        assert json.loads(laptop.deploy("status", "--output", "json").stdout) == shop.status()
        laptop.deploy("report", "-o", "report.html")
        assert "from afar" in (laptop.folder / "report.html").read_text()
        assert laptop.deploy("rollback", "-m", "slow").stdout == "r1 (1.0) is live\n"
    assert report.failed == 0, report.text()
    assert shop.get().text.strip().endswith("1.0")
    deeds = shop.events("audit", "--service", shop.name)[0]["records"]
    start = next(deed for deed in deeds if deed["action"] == "start" and deed["rollout"] == 2)
    assert (start["by"], start["host"]) == ("ann@laptop", os.uname().nodename)
    assert start["origin"] == "--on, ssh from 127.0.0.1"
    Deadline.after(SystemClock(), SECONDS).until(lambda: not way.sessions(), "nothing of it is left there")


@pytest.mark.long("six jobs under load")
def test_a_pipeline_learns_from_exit_code_and_files_what_became_of_its_release(shop: Shop) -> None:
    shop.write(strategy={"bluegreen": {"bake": "0s"}})
    shop.version("3.0", {"HEALTH": "0"})
    shop.environ["CI"] = "true"

    def job(version: str, expect: int) -> str:
        done = shop.deploy("up", "--version", version, "--report", "out", "--output", "json", expect=expect)
        outcomes = [event["outcome"] for event in map(json.loads, done.stdout.splitlines()) if "outcome" in event]
        assert not any("\x1b" in line for line in (done.stdout, done.stderr)), "no terminal, no colours"
        values = dict(line.split("=", 1) for line in (shop.folder / "out/outputs.env").read_text().splitlines())
        assert values["DEPLOYER_EXIT"] == str(expect)
        assert outcomes in ([], [values["DEPLOYER_OUTCOME"]]), done.stdout
        return values["DEPLOYER_OUTCOME"]

    with users(shop.url) as load:
        assert job("2.0", Exit.DONE) == "done"
        assert job("2.0", Exit.DONE) == "unchanged"
        assert job("3.0", Exit.FAILED) == "reverted"
        assert job("4.0", Exit.REFUSED) == "refused"
        shop.deploy("plan", "--check", "--version", "3.0", expect=Exit.CHANGES)
        load.mark("after")
    assert met(load, "after") == {"2.0"}

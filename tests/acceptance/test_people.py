"""What people do in the middle: hold, promote, abort, pause, kill -9, a second deploy, looking on."""

from __future__ import annotations

import json
import signal
import time

import pytest
import requests

from deployer.core.errors import Exit
from tests.acceptance.users import QUIET, users
from tests.live.people import ask_both, person, waits
from tests.live.shop import Shop
from tests.load import Load, Options

pytestmark = pytest.mark.live

FRESH = Options(rate=80, kinds=("fresh",))
SLOWLY = ("canary", "--percent", "10", "--for", "10m", "--version", "2.0")


def versions(shop: Shop, count: int = 20) -> set[str]:
    return {shop.get().headers["X-Version"] for _ in range(count)}


@pytest.mark.long("a canary on each runtime", every_change=("process",))
def test_hold_shows_the_candidate_to_its_share_and_promote_finishes(shop: Shop) -> None:
    shop.version("2.0")
    with Load(shop.url, QUIET) as load:
        done = shop.deploy("canary", "--percent", "10", "--for", "2s", "--hold", "--version", "2.0")
        assert "deploy promote" in done.stdout
        status = shop.status()
        assert status["share"] == 1000
        assert status["lease"] > time.time() + 3600, "nobody has to keep it up: it lasts a day"
        shop.deploy("promote", "-m", "looks good")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert versions(shop) == {"2.0"}


@pytest.mark.long("several shares of sticky clients")
def test_forced_side_at_share_0_and_sticky_clients_never_go_back(process_shop: Shop) -> None:
    shop = process_shop
    shop.manifest["traffic"]["force"] = {"header": "X-Side"}
    shop.manifest["strategy"] = {"canary": {"steps": [10, 30, 60, 90], "for": "2s", "bake": "1s"}}
    shop.write()
    shop.version("2.0")
    shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")  # the entry of this release knows the header
    shop.version("3.0")
    clients = [requests.Session() for _ in range(60)]
    seen: list[list[str]] = [[] for _ in clients]
    with users(shop.url, FRESH), shop.start("canary", "--version", "3.0") as canary:
        while canary.poll() is None:
            for client, path in zip(clients, seen, strict=True):
                path.append(client.get(shop.url + "/version", timeout=10).headers["X-Version"])
        assert canary.returncode == 0
    for path in seen:
        assert path == sorted(path), f"a client went back: {path}"
    assert any("2.0" in path and "3.0" in path for path in seen)
    for client in clients:
        client.close()

    shop.version("4.0")
    with shop.start("canary", "--percent", "1", "--for", "10m", "--version", "4.0"):
        shop.wait(lambda s: s["share"] == 100, "the canary has its share")
        assert {shop.get(**{"X-Side": "candidate"}).headers["X-Version"] for _ in range(10)} == {"4.0"}
        assert {shop.get(**{"X-Side": "stable"}).headers["X-Version"] for _ in range(10)} == {"3.0"}


@pytest.mark.long("a canary on each runtime")
def test_abort_of_a_running_canary_by_another_process(shop: Shop) -> None:
    shop.version("2.0")
    with Load(shop.url, QUIET) as load, shop.start(*SLOWLY) as canary:
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        done = shop.deploy("abort", "-m", "wrong day")
        assert "wrong day" in done.stdout
        assert canary.wait(timeout=180) == 6
        report = load.stop()
    assert report.failed == 0, report.text()
    assert versions(shop) == {"1.0"}
    assert len(shop.status()["environments"]) == 1


@pytest.mark.long("a canary that is interrupted", every_change=True)
def test_sigint_goes_back_in_order(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    with Load(shop.url, QUIET) as load, shop.start(*SLOWLY) as canary:
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        canary.send_signal(signal.SIGINT)
        assert canary.wait(timeout=180) == 6
        report = load.stop()
    assert report.failed == 0, report.text()
    assert versions(shop) == {"1.0"}


@pytest.mark.long("a canary that is waited for")
def test_a_second_deploy_is_refused_with_who_and_what(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    shop.version("3.0")
    with users(shop.url), shop.start(*SLOWLY) as canary:
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        done = shop.deploy("canary", "--version", "3.0", expect=5)
        assert "canary of 2.0" in done.stderr
        assert f"pid {canary.pid}" in done.stderr
        assert "deploy watch" in done.stderr


@pytest.mark.long("a canary that is killed, on each runtime")
@pytest.mark.parametrize("moment", ["starting", "at its share", "draining"])
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_killed_then_resumed_or_aborted(shop: Shop, moment: str, then: str) -> None:
    shop.version("2.0")
    arguments = list(SLOWLY)
    if moment == "draining":
        arguments[4] = "1s"
        shop.manifest["keep"] = {"warm": "0s"}
        shop.manifest["strategy"] = {"canary": {"steps": [10], "for": "1s", "bake": "1s"}}
        shop.write()
    with Load(shop.url, Options(rate=60, kinds=("fresh", "busy", "slow"), slow=2)) as load:
        load.until(lambda now: now.open >= 2, "slow requests are in flight")
        with shop.start(*arguments, "--output", "json") as process:
            wait_for(process.stdout, {"starting": "start", "at its share": "watch", "draining": "remove"}[moment])
            process.kill()
            process.wait(timeout=10)
        status = shop.status()
        assert status["lock"] is None, "a dead owner holds nothing"
        assert status["rollout"] is not None
        if moment == "draining" and then == "abort":
            assert "promoted already" in shop.deploy("abort", expect=2).stderr
            then = "resume"
        if then == "resume":
            if moment != "draining":
                shop.manifest["strategy"] = {"canary": {"steps": [10], "for": "1s", "bake": "1s"}}
            shop.deploy("promote" if moment != "draining" else "resume")
        else:
            shop.deploy("abort")
        load.mark("after")
        wanted = load.counters().answered + 50
        load.until(lambda now: now.answered >= wanted, "requests afterwards")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.after("after").only("fresh", "busy").by_version) == {"2.0" if then == "resume" else "1.0"}
    assert shop.status()["rollout"] is None


def wait_for(lines: object, step: str) -> None:
    """Read events until the step began."""
    for line in lines:  # type: ignore[attr-defined]
        event = json.loads(line)
        if event["event"] == "step.began" and event["step"] == step:
            return
    raise AssertionError(f"step {step} never began")


@pytest.mark.long("it waits for a lease to end")
def test_the_share_of_a_dead_deployer_runs_out(process_shop: Shop) -> None:
    shop = process_shop
    shop.manifest["traffic"]["lease"] = "6s"
    shop.write()
    shop.version("2.0")
    with Load(shop.url, QUIET) as load:
        with shop.start(*SLOWLY) as canary:
            first = shop.wait(lambda s: s["share"] == 1000, "the canary has its share")["lease"]
            shop.wait(lambda s: s["share"] == 1000 and s["lease"] > first + 6, "renewed while the deployer lives")
            canary.kill()
            canary.wait(timeout=10)
        shop.wait(lambda s: s["share"] == 0, "the lease ran out")
        load.mark("over")
        wanted = load.counters().answered + 100
        load.until(lambda now: now.answered >= wanted, "requests afterwards")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.after("over").by_version) == {"1.0"}
    shop.deploy("abort")


@pytest.mark.long("a canary that is paused", every_change=True)
def test_pause_and_resume(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [{"share": 10, "for": "20s"}, {"share": 50, "for": "1s"}], "bake": "0s"}})
    with users(shop.url):
        with shop.start("canary", "--version", "2.0") as canary:
            shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
            shop.deploy("pause", "-m", "lunch")
            assert canary.wait(timeout=120) == 0
        assert shop.status()["share"] == 1000
        shop.deploy("resume")
    assert versions(shop) == {"2.0"}


@pytest.mark.long("a canary that is watched")
def test_watch_follows_with_live_numbers(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0")
    with Load(shop.url, QUIET), shop.start(*SLOWLY), shop.start("watch", "--output", "json") as watcher:
        shop.wait(lambda s: s["share"] == 1000, "the canary has its share")
        watcher.kill()
        first = watcher.communicate(timeout=10)
        with shop.start("watch", "--output", "json") as second:
            for line in second.stdout or ():
                event = json.loads(line)
                if event["event"] == "sample" and event["candidate"]["requests"] > 3:
                    break
            else:
                raise AssertionError(f"no live numbers: {first}")


@pytest.mark.long("a rollout that is killed while it waits for people", every_change=True)
def test_it_is_killed_while_people_think_and_goes_on_when_both_have_approved(process_shop: Shop) -> None:
    shop = process_shop
    ask_both(shop)
    with Load(shop.url, QUIET) as load:
        shop.environ["DEPLOYER_ACTOR"] = "zoe"
        with shop.start("canary", "--version", "2.0") as process:
            status = shop.wait(waits, "it waits for both")
            assert (status["approval"]["whose"], status["approval"]["given"]) == ("ann and ben", [])
            assert "needs the approval of ann and ben" in person(shop, "zoe", "promote", expect=Exit.REFUSED)
            assert "zoe is not asked" in person(shop, "zoe", "approve", expect=Exit.REFUSED)
            assert "1 of 2" in person(shop, "ann", "approve", "-m", "numbers are fine")
            assert "counts once" in person(shop, "ann", "approve", expect=Exit.REFUSED)
            process.kill()
            process.wait(10)
        shop.wait(lambda s: not s["share"], "its users are back when the lease is over")
        assert "its process is gone" in person(shop, "ben", "approve", "2")
        assert "is live" in person(shop, "zoe", "resume")
        report = load.stop()
    assert report.failed == 0, report.text()
    records = reversed(shop.events("audit", "--service", shop.name)[0]["records"])
    told = [(r["action"], r["result"], r["by"].partition("@")[0]) for r in records if r["action"] == "approve"]
    assert told[:2] == [("approve", "given", "ann"), ("approve", "given", "ben")]
    assert told[2][:2] == ("approve", "done")
    shop.deploy("audit", "verify")

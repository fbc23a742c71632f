"""Nobody is at the wheel: the deployer is killed, the proxy is killed, and users are still safe."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from deployer.core.clock import Deadline, SystemClock
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy.master import MasterSocket
from tests.live.shop import Shop
from tests.live.told import Told
from tests.load import Load, Options

pytestmark = pytest.mark.live

USERS = Options(rate=80, kinds=("fresh", "busy", "sticky", "post"), sticky_posts=0.3)
WRITERS = Options(rate=60, kinds=("post", "sticky"), posters=4, sticky_posts=1.0)
BLIND = {"errors": {"add": "90%", "max": "100%"}, "latency": False, "requests": 5}  # finds nothing worse


def at_share(shop: Shop, share: int) -> dict[str, Any]:
    return shop.wait(lambda s: s["share"] == share, f"the candidate has {share / 100:g}%")


def spent(status: dict[str, Any]) -> int:
    """How many failed responses of the candidate users have seen, as the status tells."""
    return int(status["safety"]["spent"]) if status["safety"] else 0


def more(load: Load, requests: int, what: str) -> None:
    wanted = load.counters().sent + requests
    load.until(lambda now: now.sent >= wanted, what)


@pytest.mark.long("it waits for a lease to end", every_change=True)
def test_a_dead_deployer_leaves_users_on_a_good_release_for_no_longer_than_the_lease(process_shop: Shop) -> None:
    shop, lease = process_shop, 6.0
    shop.live("1.1", lease=f"{lease:g}s")
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "120s"}]}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        with shop.start("canary", "--version", "2.0") as canary:
            at_share(shop, 3000)
            canary.kill()
            killed = time.time()
            canary.wait(timeout=60)
        status = shop.wait(lambda s: s["share"] == 0, "the lease ran out")
        load.mark("over")
        more(load, 100, "requests after the lease")
        report = load.stop()
    assert report.failed == 0, report.text()
    left = [r for r in report.after(killed).requests if r.version == "2.0"]
    assert left, "it had its share until the lease was over"
    assert max(r.start for r in left) <= killed + lease
    assert set(report.after("over").by_version) == {"1.1"}
    assert (status["safety"]["share"], status["stable_version"]) == (3000, "1.1")
    assert "r3 (2.0) had 30% until its lease ran out" in shop.deploy("status").stdout
    shop.deploy("abort")
    assert [e["version"] for e in shop.status()["environments"]] == ["1.1"]


@pytest.mark.long("it waits for the end of a paused share", every_change=True)
def test_a_paused_rollout_returns_its_users_by_itself_and_can_still_go_on(process_shop: Shop) -> None:
    shop, kept = process_shop, 8.0
    shop.live("1.1", paused=f"{kept:g}s")
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "3s"}], "bake": 0}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        shop.deploy("canary", "--version", "2.0", "--hold")
        paused = time.time()  # no process is left
        shop.wait(lambda s: s["share"] == 0, "its time is over")
        load.mark("over")
        more(load, 100, "requests after it")
        status = shop.deploy("status").stdout
        shop.deploy("resume")
        more(load, 100, "requests after the promotion")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert "r3 (2.0) had 30% until its lease ran out" in status
    assert "paused" in status
    back = report.after("over").requests
    assert {r.version for r in back[:50]} == {"1.1"}
    held = [r.start for r in report.after(paused).before("over").requests if r.version == "2.0"]
    assert held, "it had its share while it was paused"
    assert max(held) <= paused + kept + 1  # a lease ends with a second of the clock
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("it waits for a lease to end")
def test_a_dead_deployer_leaves_a_bad_release_behind_and_readers_see_none_of_it(process_shop: Shop) -> None:
    """At 30%, with a candidate that begins to fail when nobody judges it any more."""
    shop = process_shop
    shop.live("1.1", lease="4s")
    nobody_looks = shop.folder / "nobody-looks"
    shop.version("2.0", {"ERR": "0.5", "ERR_WHILE": str(nobody_looks)})
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "120s"}]}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        with shop.start("canary", "--version", "2.0") as canary:
            at_share(shop, 3000)
            canary.kill()
            canary.wait(timeout=60)
        nobody_looks.touch()
        shop.wait(lambda s: s["share"] == 0, "the lease ran out")
        load.mark("over")
        more(load, 100, "requests after the lease")
        report = load.stop()
    assert report.only(method="GET").failed == 0, report.text()
    assert report.failed <= 50 + 1 + report.by_version["2.0"] // 100 + report.at_once, report.text()
    assert report.by_version["2.0"] > 0
    after = report.after("over")
    assert after.failed == 0, after.text()
    assert set(after.by_version) == {"1.1"}
    shop.deploy("abort")
    assert [e["version"] for e in shop.status()["environments"]] == ["1.1"]


@pytest.mark.long("a canary through the death of its proxy")
def test_a_killed_proxy_forgets_nothing_and_the_rollout_goes_on(process_shop: Shop) -> None:
    shop = process_shop
    shop.live("1.1", budget=10000, lease="60s", sticky=False)
    shop.version("2.0", {"ERR": "0.3"})
    stages = [{"share": 30, "for": "30s"}]
    shop.write(judge=BLIND, strategy={"canary": {"steps": stages, "bake": "1s"}})
    with Load(shop.url, WRITERS) as load:
        load.until(lambda now: now.answered > 50, "the load runs")
        with shop.start("canary", "--version", "2.0", "--output", "json") as canary:
            before = shop.wait(lambda s: s["share"] == 3000 and spent(s) > 5, "failed responses are counted")
            kill_proxy(shop)
            after = shop.wait(lambda s: s["read"], "the proxy is back")
            load.mark("back")
            more(load, 100, "requests after it came back")
            said, _ = canary.communicate(timeout=180)
        report = load.stop()
    told = Told.of(said)
    assert after["share"] == 3000, "no more users than before, and no fewer: its deployer lives"
    assert after["lease"] >= before["lease"] > 0
    assert spent(after) >= spent(before), f"{spent(before)} before, {spent(after)} after"
    assert after["safety"]["budget"] >= before["safety"]["budget"] > 0
    assert canary.returncode == 0, told.text()
    assert told.shares[-1] == 0, "promoted"
    good_or_500 = report.after("back").only(method="POST")
    assert {r.status for r in good_or_500.requests} <= {200, 500}, good_or_500.text()
    assert shop.status()["stable_version"] == "2.0"


def kill_proxy(shop: Shop) -> None:
    """End master and workers, as the kernel does when memory is short; what looks after them is left alone."""
    master = MasterSocket(shop.state / "proxy" / "master.sock", SystemClock())
    pids = [int(line.split()[0]) for line in master.ask("show proc").splitlines() if is_process(line)]
    assert len(pids) >= 2, "a master and a worker at least"
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

    def another_one() -> bool:
        try:
            return not {int(line.split()[0]) for line in master.ask("show proc").splitlines() if is_process(line)} & {
                *pids
            }
        except DriverFailed:
            return False

    Deadline.after(SystemClock(), 60).until(another_one, "the proxy is started again")


def is_process(line: str) -> bool:
    words = line.split()
    return len(words) > 1 and words[0].isdigit() and words[1] in ("master", "worker")


@pytest.mark.long("a bad release under load, until its budget is spent")
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_the_proxy_alone_keeps_to_the_budget(process_shop: Shop, then: str) -> None:
    """The deployer is dead, the lease is long, and then the candidate begins to fail."""
    shop = process_shop
    shop.live("1.1", budget=10, lease="5m")
    broken = shop.folder / "broken"
    shop.version("2.0", {"ERR": "1", "ERR_WHILE": str(broken)})
    shop.write(strategy={"canary": {"steps": [{"share": 30, "for": "120s"}]}})
    with Load(shop.url, WRITERS) as load:
        load.until(lambda now: now.answered > 50, "the load runs")
        with shop.start("canary", "--version", "2.0") as canary:
            at_share(shop, 3000)
            more(load, 100, "requests at 30%")
            canary.kill()
            canary.wait(timeout=60)
        broken.touch()
        status = shop.wait(lambda s: spent(s) >= 10, "the budget is spent")
        load.mark("spent")
        more(load, 200, "requests after that")
        report = load.stop()
    assert status["safety"]["over"]
    assert report.failed <= status["safety"]["budget"] + report.at_once, report.text()
    after = report.after("spent")
    assert after.failed == 0, after.text()
    assert set(after.by_version) == {"1.1"}
    assert status["share"] == 0
    told = shop.told(then, expect=0 if then == "abort" else 3)
    assert told.one("budget.spent")["spent"] >= 10
    assert shop.status()["share"] == 0
    assert [e["version"] for e in shop.status()["environments"]] == ["1.1"]


@pytest.mark.long("a bad release under load, until its budget is spent")
def test_a_candidate_that_spent_its_budget_gets_no_new_one_from_a_new_deployer(process_shop: Shop) -> None:
    """Killed and resumed again and again, a bad release costs no more than once."""
    shop = process_shop
    shop.live("1.1", budget=20, lease="60s", shield=False)
    shop.version("2.0", {"ERR": "0.1"})
    in_no_hurry = {"alpha": 1e-12, "latency": False, "requests": 5}
    shop.write(judge=in_no_hurry, strategy={"canary": {"steps": [{"share": 50, "for": "120s"}]}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        with shop.start("canary", "--version", "2.0") as canary:
            first = shop.wait(lambda s: spent(s) >= 5, "failed responses are counted")
            canary.kill()
            canary.wait(timeout=60)
        shop.deploy("resume", expect=3)
        report = load.stop()
    assert first["safety"]["budget"] >= 20
    tolerated = 1 + report.by_version["2.0"] // 100
    assert 10 <= report.failed <= 20 + tolerated + report.at_once, report.text()

"""What is not the candidate's fault, and what cannot be said at all: neither may end as `worse`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

from tests.live.afar import rest
from tests.live.shop import Shop
from tests.live.told import Told, told
from tests.load import Load, Options

pytestmark = pytest.mark.live

USERS = Options(rate=80, kinds=("fresh", "busy", "sticky", "post"), sticky_posts=0.3)


def follow(lines: IO[str] | None, until: Callable[[dict[str, object]], bool], what: str) -> list[dict[str, object]]:
    """Read events up to one."""
    read = []
    for event in told(lines or ()):
        read.append(event)
        if until(event):
            return read
    raise AssertionError(f"{what} never came: {Told(tuple(read)).text()}")


@pytest.mark.long("a canary through an outage")
def test_an_outage_of_both_sides_is_not_held_against_the_candidate(process_shop: Shop) -> None:
    shop = process_shop
    database_is_down = shop.folder / "database-is-down"
    broken_without_it = {"ERR": "0.5", "ERR_WHILE": str(database_is_down)}
    shop.live("1.1", broken_without_it)
    shop.version("2.0", broken_without_it)
    stages = [{"share": 30, "for": "12s"}]
    shop.write(strategy={"canary": {"steps": stages, "bake": "1s"}})
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        with shop.start("canary", "--version", "2.0", "--output", "json") as canary:
            read = follow(canary.stdout, is_judged, "a sample with responses of the candidate")
            database_is_down.touch()
            before = load.counters().failed
            time.sleep(4)  # how long the outage is
            outage = load.counters().failed - before
            database_is_down.unlink()
            more, _ = rest(canary, 0)  # of the reader that has read on: another would miss what it holds
        all_told = Told((*read, *more))
        load.stop()
    assert outage > 20, "users felt it"
    assert not all_told.all("verdict", verdict="worse"), all_told.text()
    assert not all_told.all("budget.spent"), all_told.text()
    assert all_told.all("sample")[-1]["candidate"]["requests"] > 50


def is_judged(event: dict[str, object]) -> bool:
    side = event.get("candidate") if event["event"] == "sample" else None
    return isinstance(side, dict) and side["requests"] > 5


@pytest.mark.long("a canary with few requests")
def test_one_error_of_five_at_night_does_not_end_it(process_shop: Shop) -> None:
    """Hardly anybody is there: the candidate answers five times in all, the first time badly."""
    shop = process_shop
    shop.live("1.1", shield=False, sticky=False)
    first = shop.folder / "first-answer"
    first.touch()
    shop.version("2.0", {"ERR": "1", "ERR_WHILE": str(first)})
    shop.write(strategy={"canary": {"steps": [{"share": 20, "for": "20s"}, 50]}})
    with shop.start("canary", "--version", "2.0", "--output", "json") as canary:
        read = follow(canary.stdout, lambda e: e.get("step") == "watch", "the analysis at 20%")
        met = requests_until(shop, first, answers=5)
        read += follow(canary.stdout, lambda e: e["event"] == "step.done", "its end")
        shop.deploy("abort")
        canary.communicate(timeout=180)
    seen = Told(tuple(read))
    assert met == [500, 200, 200, 200, 200]
    last = seen.all("sample")[-1]
    assert (last["candidate"]["requests"], last["candidate"]["errors"]) == (5, 1), seen.text()
    assert not seen.all("verdict", verdict="worse"), seen.text()
    assert seen.all("step.done")[-1]["step"] == "watch", "it went on to the next share"


def requests_until(shop: Shop, first: Path, answers: int) -> list[int]:
    """Send requests, one after the other, until the candidate has so often; return its statuses."""
    met: list[int] = []
    for _ in range(1000):
        answer = shop.get("/")
        if answer.headers["X-Version"] == "2.0":
            met.append(answer.status_code)
            first.unlink(missing_ok=True)
        if len(met) == answers:
            return met
    raise AssertionError(f"1000 requests at 20%, {len(met)} answered by the candidate")


@pytest.mark.long("a canary of a quiet service, whose steps end by their time", every_change=True)
def test_a_quiet_service_ends_as_the_first_line_has_forecast(process_shop: Shop) -> None:
    shop = process_shop
    shop.live("1.1")
    shop.version("2.0")
    shop.write(strategy={"canary": {"steps": [25, 50], "within": "12s", "bake": 0}})
    with Load(shop.url, Options(rate=10, kinds=("fresh", "busy"))) as load:
        load.until(lambda now: now.answered > 150, "the proxy has counted enough to say something", 60)
        all_told = shop.told("canary", "--version", "2.0")
        report = load.stop()
    assert report.failed == 0, report.text()
    forecast = all_told.all("note")[0]["text"]
    assert "requests a second on average over the last" in forecast
    assert "about 24 s of comparing: 25% 12 s (by time), 50% 12 s (by time)" in forecast
    watches = [e["n"] for e in all_told.all("step.began", step="watch")]
    assert all(12 <= all_told.one("step.done", n=n)["seconds"] < 40 for n in watches), all_told.text()
    for verdict in all_told.all("verdict"):
        assert (verdict["verdict"], verdict["enough"]) == ("inconclusive", True), all_told.text()
        assert verdict["text"].endswith("would not have been seen")
    assert shop.status()["stable_version"] == "2.0"


@pytest.mark.long("a canary without a request")
@pytest.mark.parametrize(("undecided", "share"), [("hold", 1000), ("revert", 0)])
def test_nobody_comes_so_nothing_can_be_said(process_shop: Shop, undecided: str, share: int) -> None:
    shop = process_shop
    shop.manifest["judge"]["undecided"] = undecided
    shop.write(strategy={"canary": {"steps": [10], "within": "10s"}})
    shop.version("2.0")
    all_told = shop.told("canary", "--version", "2.0", expect=7)
    assert max(all_told.shares) == 1000, "nothing grew on no data"
    assert "it is inconclusive: at least" in all_told.all("note")[0]["text"], "the first line has said so"
    assert all_told.one("verdict", verdict="inconclusive")
    status = shop.status()
    assert (status["stable_version"], status["share"]) == ("1.0", share)
    if undecided == "hold":
        assert all_told.one("rollout.paused")["exit"] == 7
        shop.deploy("abort")
    assert shop.status()["share"] == 0
    assert [e["version"] for e in shop.status()["environments"]] == ["1.0"]

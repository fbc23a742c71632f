"""What a bad release may cost: failed responses that users see, and the time until it is gone, by kind of badness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from deployer.core.errors import Exit
from tests.acceptance.users import met, users
from tests.live.shop import Shop
from tests.live.told import Told
from tests.load import Load, Options, Report

pytestmark = pytest.mark.live

# A hundred requests a second: new clients and such that keep their connection or their cookie, reading and writing.
USERS = Options(rate=100, kinds=("fresh", "busy", "sticky", "post"), sticky_posts=0.3)
READERS = Options(rate=100, kinds=("fresh", "busy", "sticky"))
PATIENT = Options(rate=100, kinds=("fresh", "busy"), timeout=100)
ANY = Options(rate=100, kinds=("fresh", "busy"))
# How long a machine under test may take for what takes a few seconds; what it took is printed (pytest -rP).
PATIENCE = 30.0
BUDGET = 50  # the default
# At 10% of a hundred requests a second the candidate gives so many in ten seconds, however slow the machine is.
TEN_SECONDS = 100


def canary(
    shop: Shop, *, expect: int | tuple[int, ...], users: Options = USERS, **strategy: Any
) -> tuple[Told, Report]:
    """Put the load on, try version 2.0 on it, and go on until requests came in that nobody but stable can answer."""
    shop.write(strategy={"canary": strategy})
    with Load(shop.url, users) as load:
        load.until(lambda now: now.answered > 100, "the load runs")
        told = shop.told("canary", "--version", "2.0", expect=expect)
        load.mark("over")
        wanted = load.counters().sent + 100
        load.until(lambda now: now.sent >= wanted, "requests after the end")
        report = load.stop()
    print(f"{told.seconds_to_turn:.1f} s with users, failed responses seen: {report.bad}; {told.ended['text']}")
    return told, report


def taken_back(report: Report, told: Told) -> None:
    """Nobody but the candidate failed anybody, and all are on stable again."""
    assert {r.version for r in report.failures} <= {"2.0", ""}, report.text()
    after = report.after("over")
    assert after.failed == 0, after.text()
    assert len(after.by_version) == 1, told.text()
    assert "2.0" not in after.by_version, told.text()


def within_budget(report: Report, budget: int, told: Told) -> None:
    """Not more failed responses than the budget, its part for tolerated errors, and what was open at the trip."""
    assert budget <= told.limit <= budget + 1 + report.by_version.get("2.0", 0) // 100, told.text()
    assert report.failed <= told.limit + report.at_once, f"{report.text()}\n{told.text()}"


def gone_in_time(told: Told) -> None:
    """The judge had enough after what ten seconds bring."""
    assert told.one("verdict", verdict="worse")
    assert told.all("sample")[-1]["candidate"]["requests"] <= TEN_SECONDS, told.text()
    assert told.seconds_to_turn < PATIENCE
    assert 5000 not in told.shares


@pytest.mark.long("a bad release under load, until it is found", every_change=("process",))
def test_a_fifth_of_the_answers_fails_and_who_reads_sees_none_of_it(shop: Shop) -> None:
    shop.version("2.0", {"ERR": "0.2"})
    told, report = canary(shop, expect=3, users=READERS, steps=[10, 50])
    assert report.failed == 0, report.text()
    assert told.one("shield.used")["shielded"] > 0
    taken_back(report, told)
    gone_in_time(told)


@pytest.mark.long("a bad release under load, until it is found")
def test_a_fifth_of_the_answers_fails_without_a_shield(process_shop: Shop) -> None:
    shop = process_shop
    shop.live("1.1", shield=False)
    shop.version("2.0", {"ERR": "0.2"})
    told, report = canary(shop, expect=3, users=READERS, steps=[10, 50])
    assert report.failed > 0, "without a shield somebody must have seen it"
    assert not told.all("shield.used")
    within_budget(report, BUDGET, told)
    taken_back(report, told)
    gone_in_time(told)


@pytest.mark.long("a bad release under load, until its budget is spent", every_change=("shield",))
@pytest.mark.parametrize("shield", [True, False], ids=["shield", "no shield"])
def test_the_proxy_stops_at_the_budget_before_anybody_looks(process_shop: Shop, shield: bool) -> None:
    """Half of all users at once, every answer bad: the budget is over between two looks of the judge."""
    shop = process_shop
    shop.live("1.1", shield=shield, budget=5)
    shop.version("2.0", {"ERR": "1"})
    told, report = canary(shop, expect=3, users=USERS if shield else READERS, steps=[50])
    within_budget(report, 5, told)
    assert shield or report.failed >= 5
    assert (report.only(method="GET").failed == 0) == shield, report.text()
    taken_back(report, told)
    assert told.seconds_to_turn < PATIENCE


@pytest.mark.long("a bad release under load, until it is found")
def test_bad_for_who_writes_only(process_shop: Shop) -> None:
    shop = process_shop
    shop.version("2.0", {"ERR": "0.5", "ERR_METHOD": "POST"})
    told, report = canary(shop, expect=3, steps=[10, 50])
    assert report.only(method="GET").failed == 0, report.text()
    within_budget(report, BUDGET, told)
    taken_back(report, told)
    assert told.one("verdict", verdict="worse")
    assert told.seconds_to_turn < PATIENCE


@pytest.mark.long("a slow release under load, until it is found")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"LAT": "10", "JIT": "20"}, {"LAT": "30", "JIT": "60"}),
        ({"LAT": "10", "TAIL": "0.1", "TAIL_MS": "20"}, {"LAT": "10", "TAIL": "0.1", "TAIL_MS": "80"}),
    ],
    ids=["all of it", "its tail"],
)
def test_three_times_slower(process_shop: Shop, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    shop = process_shop
    shop.write(judge={"latency": {"warmup": {"requests": 20, "for": "2s"}}})
    shop.live("1.1", before)
    shop.version("2.0", after)
    told, report = canary(shop, expect=3, steps=[{"share": 10, "for": "60s"}])
    assert report.failed == 0, report.text()
    taken_back(report, told)
    verdict = told.one("verdict", verdict="worse")
    assert "slower" in verdict["text"]


@pytest.mark.long("a release that is bad only late")
def test_bad_only_above_half_of_the_users(process_shop: Shop) -> None:
    """Two instances that each take 35 requests a second: enough at 10% and 50%, not for everyone."""
    shop = process_shop
    shop.version("2.0", {"CAPACITY": "35"})
    stages = [{"share": 10, "for": "3s"}, {"share": 50, "for": "3s"}]
    told, report = canary(shop, expect=3, steps=stages, bake="60s")
    assert told.shares[:3] == (1000, 5000, 10000), told.text()
    assert report.only(method="GET").failed == 0, report.text()
    within_budget(report, BUDGET, told)
    taken_back(report, told)


@pytest.mark.long("a release that dies late")
def test_it_dies_after_a_while(shop: Shop) -> None:
    """Whoever sees it first: the judge, by what users would have met, or who looks whether its instances stand."""
    shop.version("2.0", {"LIFE": "8000"})
    told, report = canary(shop, expect=(3, 4), steps=[{"share": 10, "for": "60s"}])
    assert report.only(method="GET").failed == 0, report.text()
    within_budget(report, BUDGET, told)
    taken_back(report, told)
    assert "2.0" in report.by_version


@pytest.mark.long("a bad release under load, until it is found", every_change=("a redirect to itself",))
@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"WRONG": "404"}, "status 404: 100% of the candidate's responses"),
        ({"WRONG": "200"}, "empty body: 100% of the candidate's responses"),
        ({"WRONG": "302"}, "status 302: 100% of the candidate's responses"),
        ({"WRONG": "404", "WRONG_PART": "0.1"}, "status 404: "),
    ],
    ids=["404 to everything", "an empty 200", "a redirect to itself", "404 for 10%"],
)
def test_wrong_without_an_error(process_shop: Shop, env: Mapping[str, str], said: str) -> None:
    """No status blames the release, no time is longer: only the mix of responses tells."""
    shop = process_shop
    shop.version("2.0", env)
    told, report = canary(shop, expect=3, users=ANY, steps=[{"share": 20, "for": "60s"}])
    verdict = told.one("verdict", verdict="worse")
    assert verdict["text"].startswith(said), told.text()
    assert "limit " in verdict["text"]
    assert verdict["candidate_errors"] == 0
    after = report.after("over")
    assert len(after.by_version) == 1, told.text()
    assert "2.0" not in after.by_version, told.text()


@pytest.mark.long("a bad release under load, until it is found")
def test_a_tenth_is_never_answered(process_shop: Shop) -> None:
    """Long before anything times out: nothing of it is in any count of responses."""
    shop = process_shop
    shop.write(judge={"latency": {"warmup": {"requests": 20, "for": "2s"}}})
    shop.live("1.1", shield=False, sticky=False, timeouts={"response": "3m"})
    shop.version("2.0", {"HANG": "0.1"})
    told, report = canary(shop, expect=3, users=PATIENT, steps=[{"share": 20, "for": "60s"}])
    verdict = told.one("verdict", verdict="worse")
    assert "requests wait for the candidate and " in verdict["text"], told.text()
    assert told.seconds_to_turn < 60
    assert "2.0" not in report.after("over").by_version, told.text()


@pytest.mark.long("a bad release under load, until it is found")
def test_a_tenth_is_never_answered_and_who_reads_gets_the_answer_of_stable(process_shop: Shop) -> None:
    shop = process_shop
    shop.live("1.1", timeouts={"response": "3s"})  # a third of it is the default of shield.timeout
    shop.version("2.0", {"HANG": "0.1"})
    told, report = canary(shop, expect=3, users=READERS, steps=[{"share": 20, "for": "60s"}])
    assert report.failed == 0, report.text()
    assert told.one("verdict", verdict="worse")
    assert told.one("shield.used")["shielded"] > 0


@pytest.mark.long(
    "a release that is waited for under load", every_change=("docker-exits at once", "process-never healthy")
)
@pytest.mark.parametrize(
    ("env", "changes", "said"),
    [
        ({"HEALTH": "0"}, {}, "not healthy"),
        ({"EXIT": "3"}, {}, "exited with code 3"),
        ({"ERR": "1"}, {"smoke": [{"get": "/", "expect": "200"}]}, "GET /"),
        ({"START": "60000"}, {}, "not healthy"),
    ],
    ids=["never healthy", "exits at once", "fails its smoke test", "starts too slowly"],
)
def test_no_user_meets_it(shop: Shop, env: Mapping[str, str], changes: dict[str, object], said: str) -> None:
    if said == "not healthy":  # the others have the time that they may need on a busy host
        shop.manifest["health"]["deadline"] = "3s"
    shop.write(**changes)
    shop.version("2.0", env)
    with Load(shop.url, USERS) as load:
        load.until(lambda now: now.answered > 30, "the load runs")
        done = shop.deploy("canary", "--percent", "50", "--version", "2.0", expect=4)
        report = load.stop()
    assert report.failed == 0, report.text()
    assert set(report.by_version) == {"1.0"}
    assert said in done.stdout
    assert shop.instances("2.0") == []
    assert not any("-r2-" in name for name in shop.containers())
    history = shop.events("history")[0]["rollouts"]
    assert (history[0]["outcome"], history[0]["exit"]) == ("reverted", 4)


def test_an_image_that_does_not_exist_changes_nothing(docker_shop: Shop) -> None:
    before = docker_shop.status()["environments"]
    with users(docker_shop.url) as load:
        said = docker_shop.deploy("canary", "--version", "9.9", expect=Exit.REFUSED).stderr
        assert f"{docker_shop.name}:9.9" in said
        load.mark("refused")
    assert met(load, "refused") == {"1.0"}
    assert docker_shop.status()["environments"] == before

"""What the benches of sizes and of sleep make of what they have seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.elastic import figures
from bench.elastic.figures import Growth, Used
from bench.elastic.loads import LOADS, Planned, planned
from bench.wakes.visits import Account, Kill, Try, Visit, account, parts
from deployer.drivers.ports.sleeping import Wake
from deployer.manifest.scale import ScaleSettings
from tests.load import Report, Request

SETTINGS = ScaleSettings(min=1, max=12, concurrency=8)


@pytest.mark.parametrize("name", LOADS)
def test_a_load_is_as_it_says_and_the_same_each_time(name: str) -> None:
    plan = planned(name, 120.0, 1)
    assert plan == planned(name, 120.0, 1)
    moments = [at for at, _ in plan.came]
    assert moments == sorted(moments)
    assert 0 <= moments[0] <= moments[-1] <= 120
    shape, most = LOADS[name]
    for begin in (0, 30, 60, 90):
        expected = sum(shape(120.0, begin + n / 10) / 10 for n in range(300))
        assert expected <= most * 30
        seen = sum(begin <= at < begin + 30 for at in moments)
        assert abs(seen - expected) <= 5 * expected**0.5
    assert sum(takes for _, takes in plan.came) / len(plan.came) == pytest.approx(0.1, rel=0.1)


def test_the_generator_gets_moments_and_whole_milliseconds(tmp_path: Path) -> None:
    Planned("step", 1.0, ((0.1234, 0.017), (0.5, 0.1))).write(tmp_path / "plan")
    assert (tmp_path / "plan").read_text() == "0.1234 /slow?ms=17\n0.5000 /slow?ms=100\n"


def test_the_reaction_is_from_the_first_who_waits_to_the_first_start_command() -> None:
    looks = [(10.0, 0), (10.1, 3), (10.2, 5), (10.3, 1), (10.4, 0), (20.0, 2), (20.1, 0), (30.0, 1), (30.1, 4)]
    growths = [Growth(5.0, 5.1, 6.0), Growth(10.3, 10.5, 11.0), Growth(30.2, 30.6, 31.0), Growth(30.25, 30.9, 31.5)]
    seen = list(figures.reactions(looks, growths))
    assert seen == pytest.approx([0.4, 0.6]), "one began before anybody waited, and one queue was over by itself"


def request(number: int, start: float, seconds: float, error: str = "") -> Request:
    return Request("planned", str(number), start, seconds, 0 if error else 200, "1", error)


def test_a_row_has_who_waited_who_was_lost_and_what_it_took_beside_the_oracle() -> None:
    plan = Planned("step", 10.0, tuple((n / 10, 0.1) for n in range(100)))
    sent = [request(n, 1000 + n / 10, 0.3 if n == 7 else 0.104) for n in range(98)]
    report = Report((*sent, request(98, 1009.8, 1.0, "HTTP 503")), lag=0.02)
    best, policy = figures.beside(figures.came(plan, report.requests, 1000.0), plan.seconds, SETTINGS, 1.0)
    assert best.instance_seconds == policy.instance_seconds == pytest.approx(10.25)
    row = figures.measured(plan, "scale", report, 1000.0, Used(20.5, 1, 1, 3), best.instance_seconds, 2.0)
    assert (row.requests, row.lost, row.waited) == (99, 2, 1), "one failed, and one was never sent"
    assert row.ratio == pytest.approx(2.0)
    assert row.late.max == pytest.approx(0.2)
    said = figures.text([row, figures.simulated(plan, policy, best.instance_seconds)]).splitlines()
    assert said[1].split()[:6] == ["step", "scale", "99", "2", "1.01%", "200"]
    assert "1-3" in said[1]
    assert said[2].split()[1] == "simulated"
    assert len(said) == 3, "the generator was in time"
    tardy = figures.measured(plan, "scale", report, 999.0, Used(20.5, 1, 1, 3), best.instance_seconds, 2.0)
    assert tardy.behind == pytest.approx(1.0)
    assert figures.text([tardy]).endswith("no figures.")


def wake(seconds: float = 0.1, error: str = "") -> Wake:
    return Wake(0.0, seconds, 0.06, 0.03, error)


def visit(*tries: Try, kind: str = "GET", wakes: tuple[Wake, ...] = (wake(),)) -> Visit:
    return Visit(kind, "stop", tries, wakes)


ANSWERED = Try(100.5, 100.6)


def test_only_what_a_kill_explains_is_not_lost() -> None:
    refused, cut = Try(100.0, 100.1, "503", come_again=True), Try(100.0, 100.3, "502")
    whole, partly = Kill("waker, all of it", 99.4, whole=True), Kill("waker", 100.2)
    assert account([visit(ANSWERED)], []) == Account(visits=1, wakes=1)
    seen = account([visit(refused, ANSWERED)], [whole])
    assert (seen.wakes, seen.come_again, seen.lost) == (1, 1, [])
    assert seen.refused_for == pytest.approx(0.6)
    assert len(account([visit(refused, ANSWERED)], [partly]).lost) == 1, "something of that one was left"
    assert len(account([visit(refused, ANSWERED)], []).lost) == 1
    assert account([visit(cut, ANSWERED)], [Kill("waker, all of it", 100.2, whole=True)]).cut == 1
    assert len(account([visit(cut, ANSWERED)], [whole]).lost) == 1, "it came after the kill"
    assert len(account([visit(cut)], [Kill("waker, all of it", 100.2, whole=True)]).lost) == 1, "never answered"
    failed = account([visit(ANSWERED, wakes=(wake(error="no room"), wake()))], [])
    assert (failed.wakes, failed.failed_starts) == (1, ["GET, stop: no room"])


def test_the_parts_are_of_wakes_into_which_no_kill_fell() -> None:
    seen = [visit(ANSWERED), visit(Try(200.0, 209.0)), visit(ANSWERED, kind="gRPC"), visit(ANSWERED, wakes=())]
    rows = {row.kind: row for row in parts(seen, [Kill("keeper", 205.0)])}
    assert rows["GET"].wakes == rows["gRPC"].wakes == 1
    assert (rows["GET"].start.p50, rows["GET"].health.p50) == (0.06, 0.03)
    assert rows["GET"].whole.p50 == pytest.approx(0.1)
    assert rows["GET"].rest.p50 == pytest.approx(0.01)

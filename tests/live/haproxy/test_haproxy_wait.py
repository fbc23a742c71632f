"""Requests wait when every instance of a release is gone for a moment, and not when waiting is no use."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from deployer.drivers.traffic.haproxy import backend, draining, naming, render
from deployer.model import Live
from tests.live.client import get
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


@pytest.fixture
def second() -> Iterator[Upstream]:
    with Upstream("b2") as upstream:
        yield upstream


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait for 20 s: on a busy host instances may be back and found up only after the six of users."""
    tries = f"  retries {backend.RETRIES}"
    for mode, lines in render._MODES.items():
        assert tries in lines
        monkeypatch.setitem(render._MODES, mode, ["  retries 20" if line == tries else line for line in lines])
    monkeypatch.setattr(draining, "WAITED", 21.0)


def up(bench: Bench, colour: str = "blue") -> int:
    return sum(is_up for _, is_up in bench.traffic.servers("shop", colour))  # type: ignore[arg-type]


def waiting(bench: Bench, place: str = "shop_blue") -> int:
    """Count the connections that were tried to the server that refuses everyone."""
    table = bench.master.run(bench.master.current(within())[0], f"show stat {place} 4 -1")
    head, *rows = (line.split(",") for line in table.lstrip("# ").splitlines() if line)
    (row,) = (dict(zip(head, row, strict=False)) for row in rows if row[1] == naming.WAIT)
    return int(row["wretr"]) + int(row["wredis"])


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_nobody_is_lost_while_all_instances_are_gone_for_a_moment(
    bench: Bench, blue: Upstream, second: Upstream, mode: str, patient: None
) -> None:
    bench.put("blue", blue, second, mode=mode)
    bench.set_traffic(Live("blue"))
    within().until(lambda: up(bench) == 2, "both are up")
    blue.stop()
    second.stop()
    within().until(lambda: up(bench) == 0, "the proxy has found both down")
    with ThreadPoolExecutor(20) as people:
        asked = [people.submit(get, bench.port) for _ in range(20)]
        within().until(lambda: waiting(bench) > 0, "somebody waits", every=0.01)
        with Upstream("b1", blue.port), Upstream("b2", second.port):
            answers = [each.result() for each in asked]
    assert {(answer.status, answer.who[0]) for answer in answers} == {(200, "b")}


def test_an_outage_of_both_sides_is_waited_for_by_all_and_held_against_nobody(
    bench: Bench, blue: Upstream, green: Upstream, patient: None
) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 5000, 0, 1))
    blue.stop()
    green.stop()
    within().until(lambda: up(bench) == up(bench, "green") == 0, "the proxy has found both down")
    with bench.traffic.samples("shop") as samples, ThreadPoolExecutor(30) as people:
        asked = [people.submit(get, bench.port) for _ in range(30)]
        both = ("shop_blue", "shop_green")
        within().until(lambda: all(waiting(bench, place) for place in both), "some of both sides wait", every=0.01)
        with Upstream("b1", blue.port), Upstream("g1", green.port):
            answers = [each.result() for each in asked]
        told = Seen(samples)
        within().until(lambda: told.requests() >= 30, "all are told")
    assert {answer.status for answer in answers} == {200}
    assert told.errors == 0


@pytest.mark.long("requests that wait as long as they may", every_change=True)
def test_who_waits_in_vain_is_told_after_as_many_tries_as_anybody(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    blue.stop()
    within().until(lambda: up(bench) == 0, "the proxy has found it down")
    before = waiting(bench)
    assert get(bench.port).status == 503
    assert waiting(bench) - before == backend.RETRIES


def test_a_second_chance_is_not_waited_for(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, force={"header": "x-side"})
    bench.set_traffic(Live("blue", 10000, 0, 1))
    green.stop()
    within().until(lambda: up(bench, "green") == 0, "the proxy has found the candidate down")
    assert {get(bench.port).who for _ in range(20)} == {"b1"}, "the shield: whoever was drawn"
    assert {get(bench.port, headers={"x-side": "candidate"}).who for _ in range(5)} == {"b1"}, "whoever chose it"
    assert waiting(bench, "shop_green") == 0


@pytest.mark.parametrize("method", ["GET", "POST", "tcp"])
def test_stable_answers_for_a_candidate_that_is_gone_and_it_counts(
    bench: Bench, blue: Upstream, green: Upstream, method: str
) -> None:
    bench.both(blue, green, **({"mode": "tcp"} if method == "tcp" else {"shield": False}))
    bench.set_traffic(Live("blue", 10000, 0, 1))
    green.stop()
    within().until(lambda: up(bench, "green") == 0, "the proxy has found the candidate down")
    with bench.traffic.samples("shop") as samples:
        for _ in range(5):
            assert get(bench.port, method="GET" if method == "tcp" else method).who == "b1"
        told = Seen(samples)
        within().until(lambda: told.requests() >= 5, "all are told")
    assert (told.candidate, told.candidate_errors, told.shielded) == (5, 5, 5)
    assert waiting(bench, "shop_green") == 0


def test_the_candidate_answers_for_itself_where_stable_has_nobody(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 10000, 0, 1))
    blue.stop()
    within().until(lambda: up(bench) == 0, "the proxy has found stable down")
    green.failing = True
    assert get(bench.port).status == 500
    assert waiting(bench) == 0


@pytest.mark.long("requests that wait as long as they may")
def test_those_who_wait_leave_room_for_others(
    bench: Bench, blue: Upstream, green: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "WAITING", 5)
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    blue.stop()
    within().until(lambda: up(bench) == 0, "the proxy has found it down")
    start = threading.Barrier(30)

    def ask(_: int) -> int:
        start.wait(10)
        return get(bench.port).status

    with ThreadPoolExecutor(30) as people:
        assert set(people.map(ask, range(30))) == {503}
    assert waiting(bench) == 5 * backend.RETRIES, "the others were told at once"


@pytest.mark.parametrize("mode", ["http", "tcp"])
def test_who_waits_for_a_candidate_is_still_answered_when_it_is_taken_back(
    bench: Bench, blue: Upstream, green: Upstream, mode: str, patient: None
) -> None:
    bench.both(blue, green, **({"mode": "tcp"} if mode == "tcp" else {"shield": False}))
    bench.set_traffic(Live("blue", 10000, 0, 1))
    blue.stop()
    green.stop()
    within().until(lambda: up(bench) == up(bench, "green") == 0, "the proxy has found both down")
    with ThreadPoolExecutor(20) as people:
        asked = [people.submit(get, bench.port) for _ in range(10)]
        within().until(lambda: waiting(bench, "shop_green") > 0, "somebody waits", every=0.01)
        with Upstream("b1", blue.port), Upstream("g1", green.port):
            within().until(lambda: up(bench) == 1, "stable is back")
            bench.set_traffic(Live("blue"))
            assert bench.traffic.drain("shop", "green", ["g1"], within(10)) == 0
            bench.traffic.detach("shop", "green", ["g1"], within())
            answers = [each.result() for each in asked]
    assert [answer.status for answer in answers] == [200] * 10


@pytest.mark.long("requests that wait as long as they may")
def test_a_drain_has_no_more_patience_with_those_who_wait_than_it_is_given(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 10000, 0, 1))
    blue.stop()
    green.stop()
    within().until(lambda: up(bench) == up(bench, "green") == 0, "the proxy has found both down")
    with ThreadPoolExecutor(5) as people:
        asked = [people.submit(get, bench.port) for _ in range(5)]
        within().until(lambda: waiting(bench, "shop_green") > 0, "somebody waits", every=0.01)
        patience = within(1)
        assert bench.traffic.drain("shop", "green", ["g1"], patience) == 0
        assert patience.passed(), "it had some"
        assert not any(each.done() for each in asked), "not as much as they have"
        answers = [each.result() for each in asked]
    assert {answer.status for answer in answers} == {503}

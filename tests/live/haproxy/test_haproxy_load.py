"""An instance gets as many requests at once as it answers well; others wait, are counted, and a new one takes them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from deployer.model import Live, Load
from tests.live.client import get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

SCALE = {"max": 4, "concurrency": 2}


@pytest.fixture
def first() -> Iterator[Upstream]:
    with Upstream("shop-r1-1") as upstream:
        yield upstream


@pytest.fixture
def second() -> Iterator[Upstream]:
    with Upstream("shop-r1-2") as upstream:
        yield upstream


def seen(bench: Bench) -> tuple[int, int]:
    """Count the requests on instances, and those that wait."""
    load = bench.traffic.inspection.load("shop").get("blue", Load())
    return load.running, load.waiting


def test_those_that_wait_are_counted_and_a_new_instance_takes_them(
    bench: Bench, first: Upstream, second: Upstream
) -> None:
    bench.put("blue", first, scale=SCALE)
    bench.set_traffic(Live("blue"))
    assert bench.traffic.inspection.load("shop")["blue"] == Load()
    with ThreadPoolExecutor(5) as people:
        asked = [people.submit(get, bench.port, "/held") for _ in range(5)]
        within().until(lambda: seen(bench) == (2, 3), "three wait")
        bench.traffic.attach("shop", "blue", [bench.server(second)], within())
        within().until(lambda: seen(bench) == (4, 1), "the new one has taken two")

        def all_answered() -> bool:
            first.let_go()
            second.let_go()
            return all(each.done() for each in asked)

        within().until(all_answered, "all are answered")
        assert {each.result().status for each in asked} == {200}

    def after() -> tuple[int, int]:
        load = bench.traffic.inspection.load("shop")["blue"]
        return load.open, load.total

    within().until(lambda: after() == (0, 5), "the last one has been counted")


def test_another_number_reaches_every_instance_without_a_reload_and_those_that_wait(
    bench: Bench, first: Upstream, second: Upstream
) -> None:
    release = bench.release(scale={"max": 4, "concurrency": "auto"})
    servers = [bench.server(first), bench.server(second)]

    def learned(number: int) -> None:
        bench.traffic.configure(replace(release, learned=number), "blue", within())
        bench.traffic.attach("shop", "blue", servers, within())
        assert [server.concurrency for server, _ in bench.traffic.servers("shop", "blue")] == [number, number]

    learned(1)
    bench.set_traffic(Live("blue"))
    workers = bench.workers()
    with ThreadPoolExecutor(5) as people:
        asked = [people.submit(get, bench.port, "/held") for _ in range(5)]
        within().until(lambda: seen(bench) == (2, 3), "three wait")
        learned(2)
        within().until(lambda: seen(bench) == (4, 1), "two of them wait no more")
        load = bench.traffic.inspection.load("shop")["blue"].instances
        assert {name: (each.running, each.failed) for name, each in load.items()} == {
            "shop-r1-1": (2, 0),
            "shop-r1-2": (2, 0),
        }
        learned(1)

        def all_answered() -> bool:
            first.let_go()
            second.let_go()
            return all(each.done() for each in asked)

        within().until(all_answered, "all are answered, though fewer would come at once now")
        assert {each.result().status for each in asked} == {200}
    after = bench.traffic.inspection.load("shop")["blue"].instances
    assert sum(each.total for each in after.values()) == 5
    assert bench.workers() == workers
    assert bench.config().count(" maxconn 1 ") == 2


def test_the_instance_that_is_removed_first_has_the_least_to_do(
    bench: Bench, first: Upstream, second: Upstream
) -> None:
    bench.put("blue", second, first, scale=SCALE)
    bench.set_traffic(Live("blue"))
    assert [get(bench.port).who for _ in range(10)] == ["shop-r1-1"] * 10


def test_who_is_gone_is_still_told_from_who_is_full(bench: Bench, first: Upstream, green: Upstream) -> None:
    bench.both(first, green, scale=SCALE, shield=False)
    bench.set_traffic(Live("blue", 10000, 0, 1))
    with ThreadPoolExecutor(3) as people:
        asked = [people.submit(get, bench.port, "/held") for _ in range(3)]
        inspection = bench.traffic.inspection
        within().until(lambda: inspection.load("shop")["green"].waiting == 1, "the candidate is full: one waits")

        def all_answered() -> bool:
            green.let_go()
            return all(each.done() for each in asked)

        within().until(all_answered, "all are answered")
        assert {each.result().who for each in asked} == {"g1"}
    green.stop()
    within().until(lambda: not any(up for _, up in bench.traffic.servers("shop", "green")), "it is found down")
    assert {get(bench.port).who for _ in range(5)} == {"shop-r1-1"}, "stable answers for it"

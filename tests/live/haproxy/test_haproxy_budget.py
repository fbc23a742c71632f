"""How many failed responses of a candidate users see before the proxy itself takes everyone back."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import pytest

from deployer.model import Live
from tests.live.client import Load, get
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

LIMIT = 20
HALF = Live("blue", 5000, 0, 5, LIMIT)
ALL = Live("blue", 10000, 0, 5, LIMIT)


def ask(bench: Bench, times: int, method: str = "POST", headers: dict[str, str] | None = None) -> Counter[str]:
    """Ask one by one; return who answered well, and the other statuses."""
    answers = (get(bench.port, method=method, headers=headers) for _ in range(times))
    return Counter(a.who if a.status == 200 else str(a.status) for a in answers)


def test_exactly_the_budget_is_seen_and_then_nobody_gets_the_candidate(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(HALF)
    green.fails_every = 2
    seen = ask(bench, 200, "GET")
    assert seen["500"] == LIMIT
    assert bench.traffic.spent("shop") == LIMIT
    assert ask(bench, 50) == {"b1": 50}
    assert bench.traffic.read("shop") == HALF, "what was asked for is still there to be read"
    with bench.traffic.samples("shop") as samples:
        assert samples.take().share == 0


def test_many_at_once_see_the_budget_and_what_was_in_flight(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(HALF)
    green.fails_every = 2
    connections = 16
    with Load(bench.port, connections=connections, pause=0) as load:
        within().until(lambda: len(load.failures) >= LIMIT, "the budget is spent")
        enough = load.answered + 300
        within().until(lambda: load.answered > enough, "the load goes on")
    assert LIMIT <= len(load.failures) <= LIMIT + connections
    assert bench.traffic.spent("shop") == len(load.failures)


def test_a_post_behind_the_shield(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    assert ask(bench, 30, "GET") == {"b1": 30}, "the shield; nothing is spent"
    assert bench.traffic.spent("shop") == 0
    assert ask(bench, 60) == {"500": LIMIT, "b1": 60 - LIMIT}


def test_a_candidate_that_hangs_is_answered_for_by_the_proxy_and_that_counts(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, timeouts={"response": "1s"})
    bench.set_traffic(Live("blue", 10000, 0, 5, 3))
    green.hangs = True
    assert ask(bench, 8) == {"504": 3, "b1": 5}
    assert bench.traffic.spent("shop") == 3


def test_a_candidate_that_is_gone_costs_nothing_as_stable_answers(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 10000, 0, 5, 3))
    green.stop()
    within().until(lambda: not bench.traffic.servers("shop", "green")[0][1], "the proxy sees that green is down")
    assert ask(bench, 8) == {"b1": 8}
    assert bench.traffic.spent("shop") == 0


def test_other_statuses_may_count(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, shield=False, budget={"answers": 3, "statuses": "429,500-502"})
    bench.set_traffic(Live("blue", 10000, 0, 5, 3))
    for status in (404, 503, 429, 500, 502):
        assert get(bench.port, f"/status/{status}").status == status
    assert get(bench.port).who == "b1"


def test_clients_that_keep_their_side_are_taken_back_too_and_those_who_choose_are_not(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, sticky=True, shield=False, force={"header": "x-side", "networks": ["127.0.0.0/8"]})
    bench.set_traffic(Live("blue", 10000, 0, 5, 2))
    green.failing = True
    forced = {"x-side": "candidate"}
    assert ask(bench, 5, headers=forced) == {"500": 5}
    assert ask(bench, 5, headers=bench.traffic.preview("shop")[1]) == {"500": 5}
    assert bench.traffic.spent("shop") == 0, "they asked for it"
    bench.put("green", green, sticky=True, shield=False, force={"header": "x-side"})
    cookie = {"cookie": Mint(bench, 5).cookie(0, 1_000_000)}
    assert ask(bench, 5, headers=cookie) == {"500": 2, "b1": 3}
    assert ask(bench, 2, headers=forced) == {"500": 2}
    assert bench.traffic.spent("shop") == 2


def test_a_network_that_always_gets_the_candidate_is_taken_back_when_the_lease_is_over(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, force={"networks": ["127.0.0.0/8"]})
    bench.set_traffic(Live("blue", 1, int(time.time()) + 600, 5))
    assert get(bench.port).who == "g1"
    bench.set_traffic(Live("blue", 1, int(time.time()) + 2, 5))
    within().until(lambda: get(bench.port).who == "b1", "the lease runs out")


def test_steering_keeps_the_count_and_the_next_rollout_begins_at_none(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    assert ask(bench, 8) == {"500": 8}
    for lease in range(3):
        bench.set_traffic(Live("blue", 10000, int(time.time()) + 100 + lease, 5, LIMIT))
        assert bench.traffic.spent("shop") == 8
    assert ask(bench, 20) == {"500": 12, "b1": 8}
    bench.set_traffic(Live("blue", 10000, 0, 5, LIMIT + 2))  # a clean hour has earned it two more
    assert ask(bench, 5) == {"500": 2, "b1": 3}
    bench.set_traffic(Live("blue", 10000, 0, 6, 1))
    assert bench.traffic.spent("shop") == 0
    assert ask(bench, 3) == {"500": 1, "b1": 2}


def test_no_count_is_lost_by_steering_under_load(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 5000, 0, 5, 100_000))
    green.failing = True
    with Load(bench.port, connections=4, pause=0) as load:
        for n in range(100):
            bench.set_traffic(Live("blue", 5000, 2_000_000_000 + n, 5, 100_000))
    assert len(load.failures) > 100
    assert bench.traffic.spent("shop") == len(load.failures)


def test_a_reload_keeps_the_count(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    for n in range(3):
        assert ask(bench, 5) == {"500": 5}
        before = bench.workers()
        bench.traffic.configure(bench.release(timeouts={"response": f"{61 + n}s"}), "green", within())
        assert bench.workers() != before
        assert bench.traffic.spent("shop") == 5 * (n + 1)
    assert ask(bench, 10) == {"500": 5, "b1": 5}


@pytest.mark.crowd  # a worker that leaves is looked at each millisecond: what it counts after the last look is missed
def test_reloads_under_load_double_nothing_and_miss_no_more_than_is_in_flight(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    connections, reloads = 4, 5
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 5000, 0, 5, 100_000))
    green.failing = True
    with Load(bench.port, connections=connections) as load:
        for n in range(reloads):
            settings: dict[str, Any] = {"timeouts": {"response": f"{61 + n}s"}, "shield": False}
            bench.traffic.configure(bench.release(**settings), "green", within())
            assert bench.traffic.spent("shop") <= len(load.failures) + connections
    assert len(load.failures) - connections * reloads <= bench.traffic.spent("shop") <= len(load.failures)
    assert len(load.failures) > 2 * connections * reloads


def test_a_killed_proxy_comes_back_with_the_count_that_was_read_last(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(ALL)
    green.failing = True
    assert ask(bench, 13) == {"500": 13}
    assert bench.traffic.spent("shop") == 13
    before = bench.workers()
    bench.kill_master()
    within().until(lambda: bench.master.answers() and bench.workers() != before, "the proxy comes back")
    assert bench.traffic.spent("shop") == 13
    assert ask(bench, 10) == {"500": 7, "b1": 3}
    assert bench.traffic.spent("shop") == LIMIT


def test_a_teams_own_reload_keeps_the_count(team: Bench, blue: Upstream, green: Upstream) -> None:
    team.both(blue, green)
    team.set_traffic(ALL)
    green.failing = True
    assert ask(team, 13) == {"500": 13}
    assert team.traffic.spent("shop") == 13
    assert team.master.reload(within()) == ()
    assert team.traffic.spent("shop") == 13
    assert ask(team, 10) == {"500": 7, "b1": 3}


def test_spending_and_reading_at_the_same_time(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 5000, 0, 5, 100_000))
    green.failing = True
    read: list[int] = []
    done = threading.Event()

    def reader() -> None:
        while not done.is_set():
            read.append(bench.traffic.spent("shop"))

    thread = threading.Thread(target=reader)
    with Load(bench.port, connections=2) as load:
        thread.start()
        within().until(lambda: len(load.failures) > 200, "answers come")
    done.set()
    thread.join(10)
    assert read == sorted(read), "it never goes down"
    assert bench.traffic.spent("shop") == len(load.failures)

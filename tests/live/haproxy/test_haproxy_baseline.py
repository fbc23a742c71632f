"""Fresh instances of the stable release beside the candidate."""

from __future__ import annotations

import socket
import time
from collections import Counter
from typing import Any

import pytest

from deployer.core.errors import DriverFailed
from deployer.model import Live
from tests.live.client import Load, burst, get
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import TcpUpstream, Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def beside(bench: Bench, fresh: Upstream, **traffic: Any) -> None:
    """Put a baseline next to both colours."""
    bench.traffic.configure(bench.release(**traffic), "baseline", within())
    bench.traffic.attach("shop", "baseline", [bench.server(fresh)], within())


def test_it_gets_its_share_and_is_what_the_candidate_is_compared_with(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        beside(bench, fresh)
        live = Live("blue", 1000, 0, 3, 50, 1000)
        bench.set_traffic(live)
        assert bench.traffic.read("shop") == live
        with bench.traffic.samples("shop") as samples:
            sent = burst(bench.port, 6000)
            seen = Seen(samples)
            within().until(lambda: seen.requests() + seen.rest >= 6000, "all are told")
    assert (seen.candidate, seen.stable, seen.rest) == (sent["g1"], sent["b101"], sent["b1"])
    for got in (sent["g1"], sent["b101"]):  # 4.5 standard deviations
        assert abs(got - 600) <= 105


def test_clients_that_keep_their_side_never_leave_the_candidate_for_it(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green, sticky=True)
        beside(bench, fresh, sticky=True)

        mint = Mint(bench, 3)

        def who(low: int, high: int) -> str:
            return get(bench.port, headers={"cookie": mint.cookie(low, high)}).who

        for share in (500, 2500, 5000):
            bench.set_traffic(Live("blue", share, 0, 3, 0, share))
            half, whole = share * 100, share * 200
            edges = ((0, 1000), (half - 1000, half), (half, half + 1000), (whole - 1000, whole))
            assert [who(*edge) for edge in edges] == ["g1", "g1", "b101", "b101"]
            if share < 5000:
                assert who(whole, whole + 1000) == who(999_000, 1_000_000) == "b1"


def test_it_has_no_users_before_and_after_the_share(bench: Bench, blue: Upstream, green: Upstream) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        beside(bench, fresh)
        bench.set_traffic(Live("blue", 4000, int(time.time()) + 600, 3, 0, 4000))
        assert {get(bench.port).who for _ in range(60)} == {"b1", "g1", "b101"}
        bench.set_traffic(Live("blue", 4000, int(time.time()) + 2, 3, 0, 4000))
        within().until(lambda: time.time() > bench.traffic.read("shop").lease, "the lease runs out")  # type: ignore[union-attr]
        assert {get(bench.port).who for _ in range(60)} == {"b1"}
        bench.set_traffic(Live("blue", 4000, 0, 3, 2, 4000))
        green.failing = True
        seen = Counter(get(bench.port, method="POST").status for _ in range(100))
        assert seen[500] == 2
        assert {get(bench.port).who for _ in range(60)} == {"b1"}, "nor when the budget is spent"


def test_it_comes_and_goes_without_a_lost_request(bench: Bench, blue: Upstream, green: Upstream) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        with Load(bench.port) as load:
            beside(bench, fresh)
            bench.set_traffic(Live("blue", 2000, 0, 3, 0, 2000))
            within().until(lambda: load.seen["b101"] > 20, "it gets users")
            bench.set_traffic(Live("blue", 2000, 0, 3))
            assert bench.traffic.drain("shop", "baseline", ["b101"], within()) == 0
            bench.traffic.detach("shop", "baseline", ["b101"], within())
            enough = load.answered + 50
            within().until(lambda: load.answered > enough, "the load goes on")
        assert load.failures == []
        assert "baseline" not in bench.config()
        assert bench.traffic.servers("shop", "baseline") == ()
        bench.traffic.detach("shop", "baseline", ["b101"], within())


def test_it_ends_with_the_promotion(bench: Bench, blue: Upstream, green: Upstream) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        beside(bench, fresh)
        bench.set_traffic(Live("green", 0, 0, 3))
        bench.traffic.configure(bench.release(), None, within())
        assert "baseline" not in bench.config()
        assert get(bench.port).who == "g1"


def test_a_share_for_nobody_is_refused(bench: Bench, blue: Upstream, green: Upstream) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        with pytest.raises(DriverFailed, match="no server of baseline is up"):
            bench.set_traffic(Live("blue", 500, 0, 3, 0, 500))
        beside(bench, fresh)
        with pytest.raises(DriverFailed, match="is not between 0 and 10000"):
            bench.set_traffic(Live("blue", 6000, 0, 3, 0, 6000))
        bench.set_traffic(Live("blue", 5000, 0, 3, 0, 5000))
        fresh.stop()
        within().until(lambda: not bench.traffic.servers("shop", "baseline")[0][1], "the proxy sees that it is down")
        assert {get(bench.port).who for _ in range(60)} == {"b1", "g1"}, "stable answers for it"
        bench.set_traffic(Live("blue", 5000, 2_000_000_000, 3, 0, 5000))  # renewing a lease moves nobody
        with pytest.raises(DriverFailed, match="no server of baseline is up"):
            bench.set_traffic(Live("blue", 4000, 0, 3, 0, 4000))
        bench.set_traffic(Live("blue", 0, 0, 3))


def test_a_killed_proxy_comes_back_with_it(bench: Bench, blue: Upstream, green: Upstream) -> None:
    with Upstream("b101") as fresh:
        bench.both(blue, green)
        beside(bench, fresh)
        live = Live("blue", 3000, 0, 3, 9, 3000)
        bench.set_traffic(live)
        before = bench.workers()
        bench.kill(bench.workers()[0])
        within().until(lambda: bench.master.answers() and bench.workers() != before, "the proxy comes back")
        assert bench.traffic.read("shop") == live
        within().until(lambda: {_who(bench) for _ in range(60)} == {"b1", "g1", "b101"}, "all three answer")


def test_connections_of_a_tcp_service(bench: Bench) -> None:
    with TcpUpstream("b1") as blue, TcpUpstream("g1") as green, TcpUpstream("b101") as fresh:
        bench.both(blue, green, mode="tcp")
        beside(bench, fresh, mode="tcp")
        bench.set_traffic(Live("blue", 4000, 0, 3, 0, 4000))
        assert {_greeting(bench.port) for _ in range(60)} == {"b1", "g1", "b101"}


def _greeting(port: int) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        return connection.makefile().readline().strip()


def _who(bench: Bench) -> str:
    try:
        return get(bench.port).who
    except OSError:
        return ""

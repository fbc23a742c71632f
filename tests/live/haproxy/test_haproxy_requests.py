"""What the request stream says about both sides."""

from __future__ import annotations

import socket
import statistics
import struct
import time

import pytest

from deployer.drivers.traffic.haproxy.frontend import RING
from deployer.drivers.traffic.haproxy.routing_rules import LINES
from deployer.model import Counts, Live, Sample
from tests.live.client import burst, get
from tests.live.h2wire import H2Client
from tests.live.minting import Mint
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def test_every_request_is_counted_on_its_side(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 3000, 0, 1))
    with bench.traffic.samples("shop") as samples:
        sent = burst(bench.port, 5000)
        seen = Seen(samples)
        within().until(lambda: seen.requests() >= 5000, "all are told")
    assert (seen.stable, seen.candidate) == (sent["b1"], sent["g1"])
    assert (seen.errors, seen.lost) == (0, 0)
    assert seen.share == 3000


def test_errors_are_those_of_the_release(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, force={"header": "x-side"}, shield=False)
    bench.set_traffic(Live("blue", 10000, 0, 1))
    green.failing = True
    with bench.traffic.samples("shop") as samples:
        for _ in range(10):
            assert get(bench.port).status == 500
        assert get(bench.port, "/status/404").status == 404
        for _ in range(5):
            get(bench.port, headers={"x-side": "candidate"})  # chosen, not drawn: left out
            get(bench.port, headers=bench.traffic.preview("shop")[1])
        seen = Seen(samples)
        within().until(lambda: seen.requests() >= 11, "all are told")
    assert (seen.stable, seen.candidate, seen.candidate_errors) == (0, 11, 10)


def test_no_server_left_is_an_error_of_the_side_that_was_drawn_though_stable_answers(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, shield=False)
    bench.set_traffic(Live("blue", 10000, 0, 1))
    green.stop()
    within().until(lambda: not bench.traffic.servers("shop", "green")[0][1], "the proxy sees that green is down")
    with bench.traffic.samples("shop") as samples:
        assert get(bench.port).who == "b1"
        seen = Seen(samples)
        within().until(lambda: seen.requests() >= 1, "it is told")
    assert (seen.candidate, seen.candidate_errors, seen.shielded) == (1, 1, 1)


def test_a_client_that_leaves_is_no_error(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with bench.traffic.samples("shop") as samples:
        for _ in range(3):
            blue.begun.clear()
            with socket.create_connection(("127.0.0.1", bench.port)) as connection:
                connection.sendall(b"GET /slow?ms=500 HTTP/1.1\r\nhost: x\r\n\r\n")
                assert blue.begun.wait(20)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # gone, by RST
        get(bench.port, "/slow?ms=700")
        seen = Seen(samples)
        # The last one has the longest answer; when it is told, the others were.
        within().until(lambda: seen.requests() > 0 and (seen.latency.quantile(1) or 0) >= 700, "all are told")
    assert seen.errors == 0


def test_who_does_not_wait_for_an_answer_is_timed_as_long_as_he_waited(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    """A browser that gives a request up on HTTP/2: nobody failed it, but a candidate that hangs must not look idle."""
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 10000, 0, 1, 50))
    with bench.traffic.samples("shop") as samples:
        client = H2Client(bench.port)
        client.begin("GET", "/slow?ms=5000")
        assert green.begun.wait(20)
        client.close()
        seen = Seen(samples)
        within().until(lambda: seen.requests() == 1, "it is told")
    assert (seen.candidate, seen.errors) == (1, 0)
    assert seen.candidate_latency.quantile(1) is not None
    assert bench.traffic.spent("shop") == 0


def test_latency_is_that_of_the_answer(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with bench.traffic.samples("shop") as samples:
        waited = [_milliseconds(bench, "/slow?ms=200") for _ in range(5)]
        seen = Seen(samples)
        within().until(lambda: seen.requests() >= 5, "told")
    median = seen.latency.quantile(0.5)
    assert median is not None
    assert 200 <= median <= 1.3 * statistics.median(waited), "counted in steps; nobody waited longer than the client"


def _milliseconds(bench: Bench, path: str) -> float:
    began = time.monotonic()
    get(bench.port, path)
    return 1000 * (time.monotonic() - began)


def test_the_stream_goes_on_when_the_proxy_was_killed(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with bench.traffic.samples("shop") as samples:
        seen = Seen(samples)
        get(bench.port)
        within().until(lambda: seen.requests() == 1, "told")
        before = bench.workers()
        bench.kill_master()
        within().until(lambda: bench.master.answers() and bench.workers() != before, "the proxy comes back")
        within().until(lambda: get(bench.port).status == 200, "it answers")
        within().until(lambda: seen.requests() >= 2, "told again")


def test_a_calm_service_is_told_of_only_while_somebody_reads(bench: Bench, blue: Upstream) -> None:
    def told() -> int:
        return bench.master.run(bench.master.current()[0], f"show events {RING}").count("shop - blue,0,")

    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    bench.master.set_variable(bench.master.current()[0], LINES, 0)  # as a minute after the worker began
    get(bench.port)
    assert told() == 0
    with bench.traffic.samples("shop") as samples:
        seen = Seen(samples)
        get(bench.port)
        within().until(lambda: seen.requests() == 1, "it is told")
        assert told() == 1
        bench.master.reload(within())
        get(bench.port)
        within().until(lambda: seen.requests() == 2, "a new worker tells from its first request on")


def test_a_request_belongs_to_the_longest_route(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green, routes=["/checkout", "/checkout/pay", "/api/"])
    bench.set_traffic(Live("blue", 5000, 0, 1))
    paths = ["/checkout/pay/now?x=1", "/checkout/payment", "/checkout", "/api", "/apis", "/", "/checkouts"]
    with bench.traffic.samples("shop") as samples:
        for path in paths * 4:
            get(bench.port, path)
        told = samples.take()
        deadline = within()
        while told.stable.requests + told.candidate.requests < 28:
            deadline.check("all are told", "")
            told += samples.take()
    seen = {n: sum(c.stable.requests + c.candidate.requests for c in coins) for n, coins in told.routes}
    assert seen == {0: 8, 1: 4, 2: 4}


def test_a_client_counts_once_and_a_share_that_grows_throws_it_again(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green, sticky=True, shield=False)
    bench.set_traffic(Live("blue", 1000, 0, 7))
    mint = Mint(bench, 7)
    cookies = [mint.cookie(n * 10_000, (n + 1) * 10_000) for n in range(100)]
    green.failing = True
    told = Sample(Counts(), Counts(), 0)
    with bench.traffic.samples("shop") as samples:
        for share in (1000, 5500):
            bench.set_traffic(Live("blue", share, 0, 7))
            for cookie in cookies * 2:
                get(bench.port, headers={"cookie": cookie})
        deadline = within()
        while told.stable.requests + told.candidate.requests < 400:
            deadline.check("all are told", "")
            told += samples.take()
    first, again = told.coins[0], told.coins[1]
    assert (first.p, first.stable.requests, first.candidate.requests) == (0.1, 90, 10)
    assert (again.p, again.stable.requests, again.candidate.requests) == (0.5, 45, 45)
    assert (first.first_errors, told.coins[2].p, told.coins[2].first_errors) == ((0, 10), 0.55, (0, 45))


def measured(bench: Bench) -> int:
    """How many requests came since the proxy counts, once it has counted for a second."""
    within().until(lambda: bench.traffic.inspection.measured("shop") is not None, "it has counted for a second")
    traffic = bench.traffic.inspection.measured("shop")
    assert traffic is not None
    return round(traffic.rate * traffic.seconds)


def test_what_users_ask_is_measured_also_where_no_rollout_is_open(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    assert bench.traffic.inspection.measured("shop") is None
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 0, 0, 1))
    before = measured(bench)
    burst(bench.port, 300)
    assert measured(bench) == before + 300
    bench.set_traffic(Live("blue", 5000, 0, 1))
    burst(bench.port, 300)
    assert measured(bench) == before + 600, "each counts once, on whichever side"
    workers = set(bench.workers())
    bench.put("blue", blue, service="cart", domains=["cart.example.com"])
    assert workers.isdisjoint(bench.workers()), "it was reloaded"
    assert measured(bench) == before + 600, "a reload begins with a worker that has counted nothing"

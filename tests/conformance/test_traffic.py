"""What every traffic layer promises (deployer/drivers/ports/traffic.py), tried on each one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.core.errors import DriverFailed
from deployer.model import INITIAL, Live, Place, Server
from tests.conformance.traffics import HAProxyBench, MemoryBench, ProxylessBench, TrafficBench
from tests.live.proxies import programs
from tests.services import require

Make = Callable[[Path], TrafficBench]


def _haproxies() -> Iterator[object]:
    for program in programs():
        for team in (False, True):

            def make(folder: Path, program: Path = program, team: bool = team) -> TrafficBench:
                require("haproxy")
                return HAProxyBench(folder, program, team=team)

            yield pytest.param(make, id=HAProxyBench.label(program, team), marks=pytest.mark.live)


# Another traffic layer joins the suite with a line here: a function from an empty folder to its bench.
MAKERS: list[object] = [pytest.param(lambda _folder: MemoryBench(), id="memory"), *_haproxies()]


@contextmanager
def made_by(make: Make, folder: Path) -> Iterator[TrafficBench]:
    made = make(folder)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(params=MAKERS)
def bench(request: pytest.FixtureRequest, state: Path) -> Iterator[TrafficBench]:
    """Yield every proxy in turn."""
    with made_by(request.param, state) as made:
        yield made


@pytest.fixture(params=[*MAKERS, pytest.param(ProxylessBench, id="proxyless")])
def layer(request: pytest.FixtureRequest, state: Path) -> Iterator[TrafficBench]:
    """Yield every traffic layer in turn: that without a proxy, too, which attaches nothing and gets no requests."""
    with made_by(request.param, state) as made:
        yield made


def put(bench: TrafficBench, colour: Place, *names: str, service: str = "shop") -> list[Server]:
    servers = [bench.start(name, service, colour) for name in names]
    bench.traffic.configure(bench.release(service), colour, bench.within())
    bench.traffic.attach(service, colour, servers, bench.within())
    return servers


def test_what_it_does_not_know_is_nothing(layer: TrafficBench) -> None:
    assert layer.traffic.read("shop") is None
    assert layer.traffic.inspection.services() == ()
    assert layer.traffic.servers("shop", "blue") == ()
    assert layer.traffic.inspection.measured("shop") is None
    layer.traffic.detach("shop", "blue", ["a"], layer.within())
    layer.traffic.forget("shop", layer.within())


def test_a_new_service_begins_with_nobody_on_blue(layer: TrafficBench) -> None:
    layer.traffic.configure(layer.release("shop"), "blue", layer.within())
    assert layer.traffic.read("shop") == INITIAL
    assert layer.traffic.inspection.services() == ("shop",)


def test_what_is_steered_is_read(layer: TrafficBench) -> None:
    put(layer, "blue", "b1")
    put(layer, "green", "g1")
    for live in (
        Live("blue", 0, 0, 1),
        Live("blue", 1, 2_000_000_000, 1),
        Live("blue", 10000, 0, 1),
        Live("green", 0, 0, 1),
        Live("green", 9999, 2_000_000_001, 2),
        Live("green", 0, 0, 2),
    ):
        layer.traffic.set_traffic("shop", live, layer.within())
        assert layer.traffic.read("shop") == live
        layer.traffic.set_traffic("shop", live, layer.within())
        assert layer.traffic.read("shop") == live


def test_configuring_again_does_not_move_anybody(layer: TrafficBench) -> None:
    put(layer, "blue", "b1")
    put(layer, "green", "g1")
    live = Live("blue", 700, 2_000_000_000, 3)
    layer.traffic.set_traffic("shop", live, layer.within())
    layer.traffic.configure(layer.release("shop"), "green", layer.within())
    layer.traffic.configure(layer.release("shop"), None, layer.within())
    assert layer.traffic.read("shop") == live
    assert len(layer.traffic.servers("shop", "blue")) == 1


def test_users_are_not_sent_where_nothing_is_up(layer: TrafficBench) -> None:
    put(layer, "blue", "b1")
    layer.traffic.set_traffic("shop", Live("blue", 0, 0, 1), layer.within())
    for live in (Live("blue", 1, 0, 1), Live("blue", 10000, 0, 1), Live("green", 0, 0, 1)):
        with pytest.raises(DriverFailed):
            layer.traffic.set_traffic("shop", live, layer.within())
        assert layer.traffic.read("shop") == Live("blue", 0, 0, 1)


def test_going_back_is_refused_only_when_there_is_nothing_to_go_back_to(layer: TrafficBench) -> None:
    (b1,) = put(layer, "blue", "b1")
    (g1,) = put(layer, "green", "g1")
    layer.traffic.set_traffic("shop", Live("blue", 5000, 0, 1), layer.within())
    layer.end(g1)
    layer.traffic.set_traffic("shop", Live("blue", 0, 0, 1), layer.within())
    assert layer.traffic.read("shop") == Live("blue", 0, 0, 1)
    layer.end(b1)
    assert [up for _, up in layer.traffic.servers("shop", "blue")] == [False]


def test_servers_come_stay_and_go(bench: TrafficBench) -> None:
    (b1,) = put(bench, "blue", "b1")
    (b2,) = put(bench, "blue", "b2")
    bench.traffic.attach("shop", "blue", [b1], bench.within())
    assert set(bench.traffic.servers("shop", "blue")) == {(b1, True), (b2, True)}
    assert bench.traffic.servers("shop", "green") == ()
    assert bench.traffic.drain("shop", "blue", ["b1"], bench.within()) == 0
    bench.traffic.detach("shop", "blue", ["b1", "never"], bench.within())
    assert bench.traffic.servers("shop", "blue") == ((b2, True),)
    bench.traffic.detach("shop", "blue", ["b1"], bench.within())
    bench.traffic.attach("shop", "blue", [b1], bench.within())
    assert {s for s, _ in bench.traffic.servers("shop", "blue")} == {b1, b2}


def test_an_introduced_server_gets_no_user_before_it_is_attached(bench: TrafficBench) -> None:
    (b1,) = put(bench, "blue", "b1")
    (g1,) = put(bench, "green", "g1")
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 1), bench.within())
    bench.traffic.detach("shop", "green", ["g1"], bench.within())
    bench.traffic.introduce("shop", "green", [g1], bench.within())
    bench.traffic.introduce("shop", "blue", [b1], bench.within())
    assert bench.traffic.servers("shop", "green") == ((g1, False),)
    assert bench.traffic.servers("shop", "blue") == ((b1, True),), "one that is there stays as it is"
    with pytest.raises(DriverFailed):
        bench.traffic.set_traffic("shop", Live("green", 0, 0, 1), bench.within())
    bench.traffic.attach("shop", "green", [g1], bench.within())
    bench.traffic.set_traffic("shop", Live("green", 0, 0, 1), bench.within())
    assert bench.traffic.servers("shop", "green") == ((g1, True),)


def test_where_nothing_is_open_nothing_is_handed_over(bench: TrafficBench) -> None:
    assert bench.traffic.hand_over("shop", "green", 1, bench.within()) == 0
    put(bench, "blue", "b1")
    put(bench, "green", "g1")
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 1), bench.within())
    load = bench.traffic.inspection.load("shop")
    assert (load["blue"].open, load["green"].open) == (0, 0)
    assert (load["blue"].running, load["blue"].waiting) == (0, 0)
    assert bench.traffic.hand_over("shop", "green", 1, bench.within()) == 0
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 1)


def test_services_do_not_touch_each_other(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    put(bench, "blue", "c1", service="cart")
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 1), bench.within())
    bench.traffic.set_traffic("cart", Live("blue", 0, 0, 9), bench.within())
    bench.traffic.forget("cart", bench.within())
    assert bench.traffic.read("cart") is None
    assert bench.traffic.servers("cart", "blue") == ()
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 1)
    assert [s.name for s, _ in bench.traffic.servers("shop", "blue")] == ["b1"]


def test_a_forgotten_service_begins_anew(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 5), bench.within())
    bench.traffic.forget("shop", bench.within())
    bench.traffic.configure(bench.release("shop"), "blue", bench.within())
    assert bench.traffic.read("shop") == INITIAL
    assert bench.traffic.servers("shop", "blue") == ()


def test_a_silent_service_has_empty_samples_at_the_share_in_force(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    put(bench, "green", "g1")
    bench.traffic.set_traffic("shop", Live("blue", 1200, 0, 1), bench.within())
    with bench.traffic.samples("shop") as samples:
        sample = samples.take()
    assert (sample.stable.requests, sample.candidate.requests, sample.lost) == (0, 0, 0)
    assert sample.share == 1200


def test_a_budget_of_which_nothing_is_spent(layer: TrafficBench) -> None:
    assert layer.traffic.spent("shop") == 0
    put(layer, "blue", "b1")
    put(layer, "green", "g1")
    for live in (Live("blue", 1200, 0, 1, 50), Live("blue", 1200, 0, 1, 60), Live("blue", 0, 0, 2)):
        layer.traffic.set_traffic("shop", live, layer.within())
        assert layer.traffic.read("shop") == live
        assert layer.traffic.spent("shop") == 0


def test_a_baseline_comes_with_its_servers_and_goes_with_them(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    put(bench, "green", "g1")
    beside = Live("blue", 1000, 0, 1, 0, 1000)
    with pytest.raises(DriverFailed):
        bench.traffic.set_traffic("shop", beside, bench.within())
    (fresh,) = put(bench, "baseline", "b101")
    assert bench.traffic.servers("shop", "baseline") == ((fresh, True),)
    bench.traffic.set_traffic("shop", beside, bench.within())
    assert bench.traffic.read("shop") == beside
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 1), bench.within())
    assert bench.traffic.drain("shop", "baseline", ["b101"], bench.within()) == 0
    bench.traffic.detach("shop", "baseline", ["b101"], bench.within())
    assert bench.traffic.servers("shop", "baseline") == ()
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 1)


def test_a_promotion_ends_the_baseline(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    put(bench, "green", "g1")
    put(bench, "baseline", "b101")
    bench.traffic.configure(bench.release("shop"), None, bench.within())
    assert bench.traffic.servers("shop", "baseline") == ()
    assert len(bench.traffic.servers("shop", "blue")) == 1


def test_shares_that_do_not_fit_are_refused(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    put(bench, "green", "g1")
    put(bench, "baseline", "b101")
    bench.traffic.set_traffic("shop", Live("blue", 0, 0, 1), bench.within())
    with pytest.raises(DriverFailed):
        bench.traffic.set_traffic("shop", Live("blue", 6000, 0, 1, 0, 4001), bench.within())
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 1)


def test_the_preview_is_an_address_with_headers(bench: TrafficBench) -> None:
    put(bench, "blue", "b1")
    base, headers = bench.traffic.preview("shop")
    assert base.startswith("http")
    assert all(isinstance(v, str) for v in headers.values())


def test_a_proxy_and_its_files_agree_after_whatever_is_asked(layer: TrafficBench) -> None:
    put(layer, "blue", "b1")
    servers = put(layer, "green", "g1", "g2")
    layer.traffic.set_traffic("shop", Live("blue", 2500, 0, 3), layer.within())
    assert layer.traffic.inspection.drift("shop") == ()
    layer.traffic.drain("shop", "green", [servers[1].name], layer.within())
    assert layer.traffic.inspection.drift("shop") == ()
    layer.traffic.detach("shop", "green", [servers[1].name], layer.within())
    assert layer.traffic.inspection.drift("shop") == ()


def test_mending_what_is_right_changes_nothing(layer: TrafficBench) -> None:
    put(layer, "blue", "b1")
    put(layer, "green", "g1")
    live = Live("blue", 2500, 0, 3)
    layer.traffic.set_traffic("shop", live, layer.within())
    before = layer.traffic.servers("shop", "green")
    layer.traffic.upkeep.repair("shop", layer.within())
    assert layer.traffic.read("shop") == live
    assert layer.traffic.servers("shop", "green") == before

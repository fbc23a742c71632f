"""Promise 1: nobody notices. Every way forward and back under a mixed load that accounts for every request."""

from __future__ import annotations

import pytest

from tests.live.shop import Shop
from tests.load import Load, Options, Report

pytestmark = pytest.mark.live

# A WebSocket lives on the instance that it was opened on. When that one is drained and stopped, an orderly close is all
# that can be had; when its users are on another release, the proxy cuts it. The client connects again.
MIX = Options(rate=80, slow=3, websocket_may_move=True, websocket_may_be_cut=True)


def judged(load: Load) -> Report:
    report = load.stop()
    assert report.failed == 0, report.text()
    assert report.sent > 200, report.text()
    assert {kind for kind, (good, _) in report.by_kind.items() if good} == set(MIX.kinds)
    return report


def started(load: Load) -> None:
    load.until(lambda now: now.answered > 60, "the load runs")


def more(load: Load, requests: int, what: str) -> None:
    wanted = load.counters().answered + requests
    load.until(lambda now: now.answered >= wanted, what)


@pytest.mark.long(
    "deploys under load, on each runtime", every_change=("process-canary", "docker-bluegreen", "process-rolling")
)
@pytest.mark.parametrize(
    "way",
    [
        ("canary", "--percent", "10"),
        ("bluegreen", "--bake", "2s"),
        ("rolling", "--for", "1s"),
    ],
    ids=lambda way: way[0],
)
def test_forward(shop: Shop, way: tuple[str, ...]) -> None:
    shop.version("2.0")
    with Load(shop.url, MIX) as load:
        started(load)
        shop.deploy(*way, "--version", "2.0")
        load.mark("done")
        more(load, 100, "requests after the end")
        report = judged(load)
    assert set(report.by_version) >= {"1.0", "2.0"}
    after = report.after("done").only("fresh", "busy", "post", "paused")
    assert set(after.by_version) == {"2.0"}


@pytest.mark.long("a canary under load")
def test_canary_then_abort(shop: Shop) -> None:
    shop.version("2.0")
    with Load(shop.url, MIX) as load:
        started(load)
        shop.deploy("canary", "--percent", "10", "--hold", "--version", "2.0")
        more(load, 200, "requests while it holds")
        shop.deploy("abort")
        load.mark("aborted")
        more(load, 100, "requests after the abort")
        report = judged(load)
    assert report.by_version["2.0"] > 0
    assert set(report.after("aborted").only("fresh", "busy", "post", "paused").by_version) == {"1.0"}


@pytest.mark.long("two ways back under load", every_change=("process",))
def test_rollback_warm_and_cold(shop: Shop) -> None:
    shop.version("2.0")
    shop.version("3.0")
    with Load(shop.url, MIX) as load:
        started(load)
        shop.deploy("bluegreen", "--bake", "0", "--version", "2.0")
        shop.deploy("rollback")  # warm: 1.0 still runs
        load.mark("warm")
        more(load, 100, "requests after the warm rollback")
        load.mark("next")
        shop.deploy("bluegreen", "--bake", "0", "--version", "3.0")  # takes the place of 2.0; 1.0 is warm
        shop.write(keep={"warm": "0s"})
        shop.version("4.0")
        shop.deploy("bluegreen", "--bake", "0", "--version", "4.0")  # nothing stays warm
        shop.deploy("rollback")  # cold: 3.0 is started again from its record
        load.mark("cold")
        more(load, 100, "requests after the cold rollback")
        report = judged(load)
    plain = report.only("fresh", "busy", "post", "paused")
    assert set(plain.after("warm").before("next").by_version) == {"1.0"}
    assert set(plain.after("cold").by_version) == {"3.0"}


@pytest.mark.long("a deploy under load", every_change=True)
def test_the_load_notices_a_stop_without_drain(docker_shop: Shop) -> None:
    """The test of the tests: a planted fault must be seen."""
    assert docker_shop.client is not None
    with Load(docker_shop.url, MIX) as load:
        started(load)
        load.until(lambda now: now.open >= MIX.slow, "slow requests are in flight")
        for name in docker_shop.containers():
            docker_shop.client.containers.get(name).kill()
        load.until(lambda now: now.failed > 0, "failures are counted")
        assert load.stop().failed > 0

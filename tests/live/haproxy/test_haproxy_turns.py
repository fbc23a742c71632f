"""Who may write a live value, at a real proxy: not whoever was overtaken, and not over what an emergency did meanwhile.

An owner that is stopped in the middle of a write goes on with it later, whatever was done until then.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from deployer.core.errors import LockLost, TakenBack
from deployer.drivers.traffic.haproxy import live_map
from deployer.drivers.traffic.haproxy.live_map import LiveMap
from deployer.emergency import endpoint, move
from deployer.model import Live
from tests.live.client import get
from tests.live.haproxy.test_haproxy_emergency import in_file
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


@pytest.mark.parametrize("late", [Live("blue", 5000, 0, 7, token=34), Live("blue", 0, 0, 7), Live("green", 0, 0, 7)])
def test_an_older_token_is_refused_and_changes_nothing(
    bench: Bench, blue: Upstream, green: Upstream, late: Live
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("green", 0, 0, 7, token=35))
    bench.put("blue", blue)  # a reload keeps the token
    with pytest.raises(LockLost, match=f"later owner of the lock .token 35; this one has {late.token}."):
        bench.set_traffic(late)
    there = bench.traffic.read("shop")
    assert there == Live("green", 0, 0, 7)
    assert there.token == 35
    assert in_file(bench) == "green,0,0,7,0,0,0,0,35"
    bench.set_traffic(Live("blue", 5000, 0, 8, token=35))
    bench.set_traffic(Live("blue", 0, 0, 8, token=36))
    assert in_file(bench) == "blue,0,0,8,0,0,0,0,36"


def test_the_token_outlives_a_kill_of_the_proxy_and_an_emergency(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    given = Live("blue", 5000, int(time.time()) + 60, 7, token=35)
    bench.set_traffic(given)
    assert abort(bench)
    assert in_file(bench) == "blue,0,0,7,0,0,0,0,35"
    bench.kill_master()
    with pytest.raises(LockLost):
        bench.set_traffic(Live("blue", 5000, 0, 7, token=34))
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 7)


def abort(bench: Bench) -> move.Moved | None:
    """Take the users off the candidate as an emergency does."""
    place = endpoint.read(str(bench.folder), "shop")
    assert place is not None
    return move.move(place, "shop", "abort")


def interrupted(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let something happen between all that a write looks at and the write itself, as if it were stopped there."""
    real, done = LiveMap._replace, list[bool]()

    def late(self: LiveMap, *given: Any, **named: Any) -> str | None:
        if not done:
            done.append(True)
            meanwhile()
        return real(self, *given, **named)

    monkeypatch.setattr(LiveMap, "_replace", late)


@pytest.mark.parametrize("planted", [False, True])
def test_an_emergency_in_the_middle_of_a_write_is_not_undone(
    bench: Bench, blue: Upstream, green: Upstream, monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """The write holds the lock of the folder, for which an emergency does not wait."""
    bench.both(blue, green)
    given = Live("blue", 1000, int(time.time()) + 60, 7, token=35)
    bench.set_traffic(given)
    interrupted(monkeypatch, lambda: abort(bench))
    more = Live("blue", 9900, int(time.time()) + 60, 7, token=35)
    if planted:
        monkeypatch.setattr(live_map, "_moved", lambda *_given: False)
        bench.traffic.set_traffic("shop", more, within(), given)
        assert bench.traffic.read("shop") == more, "what the check is for"
        return
    with pytest.raises(TakenBack):
        bench.traffic.set_traffic("shop", more, within(), given)
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 7)
    assert in_file(bench) == "blue,0,0,7,0,0,0,0,35"
    assert {get(bench.port).who for _ in range(30)} == {"b1"}


def test_an_emergency_in_the_middle_of_the_way_back_is_the_same(
    bench: Bench, blue: Upstream, green: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 1000, int(time.time()) + 60, 7, 50))
    interrupted(monkeypatch, lambda: abort(bench))
    bench.set_traffic(Live("blue", 0, 0, 7))
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 7)


def test_a_rollback_to_what_is_warm_in_the_middle_of_a_write_is_not_undone(
    bench: Bench, green: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Upstream("shop-r1-1") as warm:
        bench.both(warm, green)
        promoted = Live("green", 0, 0, 7, warm=1, token=35)
        bench.set_traffic(promoted)
        place = endpoint.read(str(bench.folder), "shop")
        assert place is not None
        interrupted(monkeypatch, lambda: move.move(place, "shop", "rollback"))
        with pytest.raises(TakenBack):
            bench.set_traffic(Live("green", 0, 0, 7, token=35))  # nobody goes back to it from now on
        assert bench.traffic.read("shop") == Live("blue", 0, 0, 7)
        assert get(bench.port).who == "shop-r1-1"

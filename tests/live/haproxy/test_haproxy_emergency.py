"""Moving users at a real proxy without anything else: forward to nobody, back to whoever is warm."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.core.errors import TakenBack
from deployer.core.filelock import FileLock
from deployer.emergency import endpoint, move
from deployer.emergency.proxy_client import Silent
from deployer.model import Live
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live

R7 = Live("green", 0, 0, 7, warm=1)


def moved(bench: Bench, command: str = "rollback", service: str = "shop") -> move.Moved | None:
    place = endpoint.read(str(bench.folder), service)
    assert place is not None
    return move.move(place, service, command)


def in_file(bench: Bench, service: str = "shop") -> str:
    lines = bench.traffic.parts.home.state.read_text().splitlines()
    return next(line.split(" ", 1)[1] for line in lines if line.startswith(f"{service} "))


@pytest.fixture
def warm() -> Iterator[Upstream]:
    with Upstream("shop-r1-1") as upstream:
        yield upstream


@contextmanager
def finished(bench: Bench, warm: Upstream) -> Iterator[Upstream]:
    """Users are on r2 in green, r1 is warm in blue."""
    with Upstream("shop-r2-1") as newer:
        bench.both(warm, newer)
        bench.set_traffic(R7)
        assert get(bench.port).who == newer.name
        yield newer


def test_a_rollback_moves_everyone_to_what_is_warm(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm), Load(bench.port) as load:
        found = moved(bench)
        assert found is not None
        assert (found.colour, found.release, found.trial) == ("blue", 1, False)
        assert bench.traffic.read("shop") == Live("blue", 0, 0, 7)
        assert in_file(bench) == "blue,0,0,7,0,0,0,0"
        before = load.seen["shop-r2-1"]
        assert all(get(bench.port).who == "shop-r1-1" for _ in range(50))
    assert load.failures == []
    assert load.seen["shop-r2-1"] <= before + 4, "answers that were on their way"
    assert moved(bench) is None, "a second rollback is not one back to the bad release"


def test_an_abort_takes_everyone_off_the_candidate(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.both(blue, green)
    given = Live("blue", 9000, int(time.time()) + 60, 7, 50, warm=0)
    bench.set_traffic(given)
    with Load(bench.port) as load:
        found = moved(bench, "abort")
        assert found is not None
        assert (found.colour, found.trial) == ("blue", True)
        assert bench.traffic.read("shop") == Live("blue", 0, 0, 7, 50)
        assert {get(bench.port).who for _ in range(50)} == {"b1"}
    assert load.failures == []
    assert moved(bench, "abort") is None
    with pytest.raises(TakenBack):
        bench.traffic.set_traffic("shop", Live("blue", 10000, 0, 7), within(), given)
    assert bench.traffic.read("shop") == Live("blue", 0, 0, 7, 50)


def test_nobody_is_moved_to_where_something_is_down(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm):
        with Upstream("shop-r1-2") as second:
            bench.traffic.attach("shop", "blue", [bench.server(second)], within())
        within().until(lambda: len(_up(bench, "blue")) == 1, "the proxy finds it down")
        assert moved(bench) is None
        warm.stop()
        within().until(lambda: not _up(bench, "blue"), "the proxy finds it down")
        assert moved(bench) is None
        assert bench.traffic.read("shop") == R7


def _up(bench: Bench, place: str) -> list[str]:
    return [s.name for s, is_up in bench.traffic.servers("shop", place) if is_up]  # type: ignore[arg-type]


def test_nobody_is_moved_to_another_release_than_the_warm_one(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm), Upstream("shop-r3-1") as stranger:
        bench.traffic.attach("shop", "blue", [bench.server(stranger)], within())
        assert moved(bench) is None
        bench.traffic.detach("shop", "blue", [stranger.name], within())
        bench.set_traffic(Live("green", 0, 0, 7))  # nothing is warm
        assert moved(bench) is None


def test_a_reload_under_way_does_not_hold_it_up(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm):
        with FileLock(bench.traffic.parts.home.root / "lock").held(5.0):
            assert moved(bench) is not None, "while somebody else has the lock"
            assert get(bench.port).who == "shop-r1-1"
            assert in_file(bench).startswith("green"), "the file is left to the bookkeeping"
        bench.set_traffic(Live("blue", 0, 0, 7))  # as the bookkeeping does
        assert in_file(bench) == "blue,0,0,7,0,0,0,0"


def test_connections_that_old_workers_keep_follow(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm), Load(bench.port, path="/slow?ms=400", connections=2, pause=0) as slow:
        within().until(lambda: slow.answered > 0, "there are open connections")
        for _ in range(2):
            bench.traffic.configure(bench.release(timeouts={"client": "61s"}), None, within())
            bench.traffic.configure(bench.release(), None, within())
        assert moved(bench) is not None
        mark = slow.seen["shop-r2-1"]
        within().until(lambda: slow.seen["shop-r1-1"] > 4, "users get the warm release")
    assert slow.failures == []
    assert slow.seen["shop-r2-1"] <= mark + 2, "one answer a connection was on its way"


def test_a_teams_proxy_is_found_by_its_card(team: Bench, warm: Upstream) -> None:
    with finished(team, warm):
        found = moved(team)
        assert found is not None
        assert get(team.port).who == "shop-r1-1"


def test_a_disk_that_is_full_does_not_stop_it(bench: Bench, warm: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with finished(bench, warm):
        monkeypatch.setattr("deployer.emergency.record.replace", full)
        assert moved(bench) is not None
        assert get(bench.port).who == "shop-r1-1"


def test_a_proxy_that_is_gone_is_said(bench: Bench, warm: Upstream, tmp_path: Path) -> None:
    with finished(bench, warm):
        bench.traffic.parts.proxy.leave(within())
        with pytest.raises(Silent, match=r"master\.sock"):
            moved(bench)


def test_a_service_that_was_forgotten_has_no_card(bench: Bench, warm: Upstream) -> None:
    with finished(bench, warm):
        bench.traffic.forget("shop", within(30))
        assert endpoint.read(str(bench.folder), "shop") is None

"""A program that has ended leaves the proxy, whoever listens on its address, until it listens itself again."""

from __future__ import annotations

import os

import pytest

from deployer.emergency import endpoint
from deployer.model import Live
from deployer.supervisor import ProcessSpec
from deployer.supervisor.door import UserGate
from deployer.supervisor.proc import Process
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.waiting import within

pytestmark = pytest.mark.live


def door_of(bench: Bench, upstream: Upstream, program: str = "shop_blue") -> UserGate:
    spec = ProcessSpec(("app",), "/", "log", address=upstream.address)
    place = endpoint.path(str(bench.folder), "shop")
    return UserGate(ProcessSpec(**{**vars(spec), "server": f"{program}/{upstream.name}", "card": place}))


def up(bench: Bench) -> set[str]:
    return {server.name for server, is_up in bench.traffic.servers("shop", "blue") if is_up}


def more(load: Load, answers: int) -> None:
    enough = load.answered + answers
    within().until(lambda: load.answered > enough, "answers come")


def test_it_leaves_at_once_though_its_address_answers_and_comes_back_when_it_listens(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.put("blue", blue, green)
    bench.set_traffic(Live("blue"))
    assert up(bench) == {blue.name, green.name}
    door = door_of(bench, blue)
    with Load(bench.port) as load:
        within().until(lambda: {blue.name, green.name} <= set(load.seen), "both answer")
        assert door.shut() == f"another program listens on {blue.address}"  # this test, in place of an intruder
        assert up(bench) == {green.name}
        more(load, 20)  # what was in progress
        before = load.seen[blue.name]
        more(load, 200)
        assert load.seen[blue.name] == before
        me = Process.of(os.getpid())
        assert me is not None
        door.open(me)
        within().until(lambda: up(bench) == {blue.name, green.name}, "it is back")
    assert load.failures == []


def test_a_proxy_that_is_gone_or_does_not_know_it_keeps_nobody_up(bench: Bench, blue: Upstream) -> None:
    assert door_of(bench, blue).shut() != ""  # nothing is known of the service
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    door_of(bench, blue, "shop_green").shut()
    assert up(bench) == {blue.name}
    assert get(bench.port).who == blue.name

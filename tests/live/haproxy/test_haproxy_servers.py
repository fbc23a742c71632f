"""Servers come and go under the eyes of users."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed
from deployer.drivers.traffic.haproxy.master import MasterSocket
from deployer.model import Live, Server
from tests.live.client import Answer, Load, get
from tests.live.proxies import Bench
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live


def test_a_dead_address_is_refused_with_its_reason_and_gets_no_user(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    dead = Server("shop-dead", f"127.0.0.1:{free_port()}")
    reason = r"shop-dead at 127.0.0.1:\d+ .*Layer4 connection problem: Connection refused"
    with Load(bench.port) as load, pytest.raises(DeadlinePassed, match=reason):
        bench.traffic.attach("shop", "blue", [dead], within(6))
    assert load.failures == []
    assert [s.name for s, _ in bench.traffic.servers("shop", "blue")] == ["b1"]
    assert "shop-dead" not in bench.config()


def test_a_question_that_the_deadline_cuts_hides_no_reason(
    bench: Bench, blue: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put("blue", blue)
    dead = Server("shop-dead", f"127.0.0.1:{free_port()}")
    deadline = within(6)
    asked = MasterSocket.ask

    def cut(master: MasterSocket, command: str, limit: Deadline | None = None, *more: Any) -> str:
        if limit is deadline and deadline.left() < 0.5:
            deadline.clock.sleep(deadline.left())
            raise DriverFailed(f"no response to `{command}`")
        return asked(master, command, limit, *more)

    monkeypatch.setattr(MasterSocket, "ask", cut)
    with pytest.raises(DeadlinePassed, match=r"Layer4 connection problem: Connection refused"):
        bench.traffic.attach("shop", "blue", [dead], deadline)
    assert [s.name for s, _ in bench.traffic.servers("shop", "blue")] == ["b1"]


def test_an_ill_instance_is_refused_with_its_status_and_gets_no_user(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with Upstream("ill") as ill:
        ill.ill = True
        with Load(bench.port) as load, pytest.raises(DeadlinePassed, match=r"ill at .*wrong status: 503"):
            bench.traffic.attach("shop", "blue", [bench.server(ill)], within(6))
        assert load.failures == []
        assert ill.users == 0
        ill.ill = False
        bench.traffic.attach("shop", "blue", [bench.server(ill)], within())
        within().until(lambda: get(bench.port).who == "ill", "it gets users once it is well")


def test_servers_come_while_somebody_reloads_the_proxy(bench: Bench, blue: Upstream) -> None:
    """As a deploy of another service does: workers end while their servers are looked at."""
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with Upstream("late") as late, ThreadPoolExecutor(1) as pool:
        late.ill = True
        coming = pool.submit(bench.traffic.attach, "shop", "blue", [bench.server(late)], within(180))
        for _ in range(12):
            bench.master.reload(within())
            bench.traffic.servers("shop", "blue")
        late.ill = False
        coming.result(timeout=180)
        assert ("late", True) in {(s.name, up) for s, up in bench.traffic.servers("shop", "blue")}


def test_attach_keeps_the_others_and_can_be_repeated(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue)
    for _ in range(2):
        bench.traffic.attach("shop", "blue", [bench.server(green)], within())
    assert bench.traffic.servers("shop", "blue") == ((bench.server(blue), True), (bench.server(green), True))


def test_attach_follows_an_instance_to_its_new_address(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    moved = Server("b1", green.address)
    bench.traffic.attach("shop", "blue", [moved], within())
    assert bench.traffic.servers("shop", "blue") == ((moved, True),)
    assert get(bench.port).who == "g1"


def test_a_drain_waits_for_the_running_request(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue, green)
    bench.set_traffic(Live("blue"))
    for upstream in (blue, green):
        upstream.begun.clear()
    answers: list[Answer] = []
    slow = threading.Thread(target=lambda: answers.append(get(bench.port, "/held")))
    slow.start()
    within().until(lambda: blue.begun.is_set() or green.begun.is_set(), "the slow request has begun", every=0.01)
    busy, idle = (blue, green) if blue.begun.is_set() else (green, blue)
    with ThreadPoolExecutor(1) as pool:
        drained = pool.submit(bench.traffic.drain, "shop", "blue", [busy.name], within(60))
        assert not within(0.5).wait(drained.done), "it waits"
        busy.let_go()
        assert drained.result() == 0
    slow.join()
    assert answers[0].who == busy.name
    assert {get(bench.port).who for _ in range(20)} == {idle.name}
    bench.traffic.detach("shop", "blue", [busy.name, "unknown"], within())
    assert [s.name for s, _ in bench.traffic.servers("shop", "blue")] == [idle.name]


def test_a_drain_without_patience_tells_what_is_open_and_detach_cuts_it(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    results: list[object] = []

    def ask() -> None:
        try:
            results.append(get(bench.port, "/held", method="POST").status)
        except OSError as error:
            results.append(error)

    slow = threading.Thread(target=ask)
    slow.start()
    assert blue.begun.wait(20)
    assert bench.traffic.drain("shop", "blue", ["b1"], within(0.2)) == 1
    bench.traffic.detach("shop", "blue", ["b1"], within())
    slow.join(20)
    assert results, "the request was not cut"
    assert results[0] != 200
    assert bench.traffic.servers("shop", "blue") == ()


def test_a_draining_server_stays_out_when_the_proxy_is_restarted(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue, green)
    bench.set_traffic(Live("blue"))
    bench.traffic.drain("shop", "blue", ["b1"], within())
    bench.kill_master()
    within().until(lambda: bench.master.answers(), "the proxy comes back")
    seen = {_who(bench) for _ in range(20)}
    assert seen == {"g1"}
    bench.traffic.attach("shop", "blue", [bench.server(blue)], within())
    within().until(lambda: get(bench.port).who == "b1", "attached again, it gets users again")


def _who(bench: Bench) -> str:
    answer = get(bench.port)
    assert answer.status == 200
    return answer.who


def test_servers_come_and_go_under_load_without_a_failed_request(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with Load(bench.port, connections=4) as load:

        def takes_over(comes: Upstream, goes: Upstream) -> None:
            bench.traffic.attach("shop", "blue", [bench.server(comes)], within())
            bench.traffic.drain("shop", "blue", [goes.name], within())
            bench.traffic.detach("shop", "blue", [goes.name], within())
            enough = load.seen[comes.name] + 6
            within().until(lambda: load.seen[comes.name] > enough, f"{comes.name} has users")

        for _ in range(4):
            takes_over(green, blue)
            takes_over(blue, green)
    assert load.failures == []
    assert load.seen["b1"] > 20
    assert load.seen["g1"] > 20


def test_a_killed_instance_fails_no_repeatable_request(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue, green)
    bench.set_traffic(Live("blue"))
    with Load(bench.port, connections=4) as load:
        within().until(lambda: load.seen["b1"] > 50, "the load has started")
        blue.stop()
        within().until(lambda: not dict(_up(bench))["b1"], "the proxy sees it")
    assert load.failures == []


@pytest.mark.parametrize(("retry", "status"), [("answers", 200), ("connections", 502)])
def test_a_request_whose_instance_is_killed_under_it_moves_with_answers_only(
    bench: Bench, blue: Upstream, retry: str, status: int
) -> None:
    bench.put("blue", blue, retry=retry)
    bench.set_traffic(Live("blue"))
    with Upstream("b2") as other, ThreadPoolExecutor(1) as pool:
        asked = pool.submit(get, bench.port, "/held")
        assert blue.begun.wait(30)
        bench.traffic.attach("shop", "blue", [bench.server(other)], within())
        blue.stop()
        if retry == "answers":
            assert other.begun.wait(30)
            other.let_go()
        assert asked.result(timeout=60).status == status
        assert other.hits["/held"] == (retry == "answers")


@pytest.mark.parametrize("retry", ["answers", "connections"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_refused_connection_moves_to_another_instance_whatever_is_retried(
    bench: Bench, blue: Upstream, green: Upstream, retry: str, method: str
) -> None:
    bench.put("blue", blue, green, retry=retry)
    bench.set_traffic(Live("blue"))
    blue.stop()  # the proxy's checks have not seen it yet
    answers = [get(bench.port, "/", method=method) for _ in range(4)]
    assert [(answer.status, answer.who) for answer in answers] == [(200, "g1")] * 4


def _up(bench: Bench) -> list[tuple[str, bool]]:
    return [(s.name, up) for s, up in bench.traffic.servers("shop", "blue")]


def test_unknown_services_are_refused_or_nothing(bench: Bench) -> None:
    assert bench.traffic.read("nope") is None
    assert bench.traffic.servers("nope", "blue") == ()
    bench.traffic.detach("nope", "blue", ["x"], within())
    bench.traffic.forget("nope", within())
    for call in (
        lambda: bench.set_traffic(Live("blue"), "nope"),
        lambda: bench.traffic.attach("nope", "blue", [Server("a", "127.0.0.1:1")], within()),
        lambda: bench.traffic.drain("nope", "blue", ["a"], within()),
        lambda: bench.traffic.samples("nope"),
        lambda: bench.traffic.preview("nope"),
    ):
        with pytest.raises(DriverFailed, match="does not know nope"):
            call()
    assert not bench.root.exists()


def test_a_server_is_checked_from_its_introduction_on_and_gets_users_once_it_is_attached(
    bench: Bench, blue: Upstream
) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    with Upstream("new") as new, Load(bench.port) as load:
        new.ill = True  # as while it warms up
        server = bench.server(new)
        bench.traffic.introduce("shop", "blue", [server], within())
        within().until(lambda: new.hits["/up"] > 2, "the proxy checks it")
        new.ill = False
        checks = new.hits["/up"]
        within().until(lambda: new.hits["/up"] > checks + 3, "it passes")
        assert bench.traffic.servers("shop", "blue") == ((bench.server(blue), True), (server, False))
        assert new.users == 0
        assert "new" not in bench.config(), "a proxy that is started again knows nothing of it"
        bench.traffic.attach("shop", "blue", [server], within(5))
        within().until(lambda: new.users > 0, "it gets users")
    assert load.failures == []


def test_what_was_introduced_can_be_forgotten(bench: Bench, blue: Upstream, green: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    bench.traffic.configure(bench.release(), "green", within())
    bench.traffic.introduce("shop", "green", [bench.server(green)], within())
    bench.traffic.introduce("shop", "green", [bench.server(green)], within())
    assert bench.traffic.servers("shop", "green") == ((bench.server(green), False),)
    with pytest.raises(DriverFailed, match="no server of green is up"):
        bench.set_traffic(Live("green"))
    assert bench.traffic.drain("shop", "green", ["g1"], within(1)) == 0
    bench.traffic.detach("shop", "green", ["g1"], within())
    assert bench.traffic.servers("shop", "green") == ()

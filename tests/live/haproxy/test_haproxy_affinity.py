"""A client keeps its instance: at rest, over a change of side and back, and until the instance ends."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from deployer.drivers.traffic.haproxy import affinity
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Colour, Live
from tests.live.certificates import certificate
from tests.live.polling import Browser, Polling
from tests.live.proxies import Bench
from tests.live.upstream import TcpUpstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live
NAME = "deployer-shop.blue"


@pytest.fixture
def instances() -> Iterator[dict[str, Polling]]:
    """Yield two instances of each colour."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(Polling(name)) for name in ("b1", "b2", "g1", "g2")}


def serve(bench: Bench, instances: dict[str, Polling], *colours: Colour, **traffic: Any) -> None:
    for colour in colours or ("blue",):
        mine = (i for name, i in instances.items() if name[0] == colour[0])
        bench.put(colour, *mine, **{"affinity": "instance", "sticky": True, **traffic})
    bench.set_traffic(Live("blue"))


def spread(bench: Bench, count: int = 6) -> list[Browser]:
    """Return clients that have an instance each, more than one among them."""
    clients = [Browser(bench.port) for _ in range(count)]
    assert {client.who() for client in clients} == {"b1", "b2"}
    return clients


def test_a_client_keeps_its_instance_and_its_cookie_is_given_once(bench: Bench, instances: dict[str, Polling]) -> None:
    serve(bench, instances)
    for client in spread(bench):
        first = client.who()
        assert client.given == []
        assert {client.who() for _ in range(10)} == {first}
        assert client.given == []


def test_the_cookie_says_nothing_of_what_is_inside_and_is_the_proxys_alone(
    bench: Bench, instances: dict[str, Polling]
) -> None:
    serve(bench, instances)
    client = Browser(bench.port)
    client.get()
    (given,) = client.given
    value, *about = (part.strip() for part in given.split(";"))
    assert about == ["Path=/", "HttpOnly", "SameSite=Lax"]
    spec = Spec.model_validate_json(bench.traffic.membership.spec("shop") or "")
    assert value in {f"{NAME}={affinity.ident(spec, 'blue', name)}" for name in ("b1", "b2")}
    other = spec.model_copy(update={"key": spec.key[::-1].replace("=", "A")[:43] + "="})
    assert affinity.ident(other, "blue", "b1") != affinity.ident(spec, "blue", "b1")


def test_without_it_a_session_in_the_memory_of_one_instance_is_lost_and_with_it_none(
    bench: Bench, instances: dict[str, Polling]
) -> None:
    serve(bench, instances, affinity="none")
    assert rest(bench, Browser(bench.port)) > 0
    serve(bench, instances)
    clients = [Browser(bench.port) for _ in range(4)]
    with crowd(bench):
        assert sum(rest(bench, client) for client in clients) == 0


def rest(bench: Bench, client: Browser) -> int:
    """Poll a while at rest; return how often the session was unknown where it was asked for."""
    for _ in range(30):
        client.poll()
    return client.lost


@contextmanager
def crowd(bench: Bench) -> Iterator[None]:
    """Let other clients come and go, so that the instances are never equally busy."""
    end = threading.Event()

    def come_and_go() -> None:
        while not end.is_set():
            Browser(bench.port).get("/slow?ms=5")

    threads = [threading.Thread(target=come_and_go) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def test_over_a_canary_it_gets_an_instance_of_the_other_side_and_its_own_again_after_a_rollback(
    bench: Bench, instances: dict[str, Polling]
) -> None:
    serve(bench, instances, "blue", "green")
    clients = spread(bench, 12)
    home = [client.who() for client in clients]
    bench.set_traffic(Live("blue", 5000, 0, 7))
    there = [client.who() for client in clients]
    assert {who[0] for who in there} == {"b", "g"}
    assert all(now == before for now, before in zip(there, home, strict=True) if now[0] == "b")
    for _ in range(5):
        assert [client.who() for client in clients] == there
    bench.set_traffic(Live("green", 0, 0, 7))
    promoted = [client.who() for client in clients]
    assert all(now == before for now, before in zip(promoted, there, strict=True) if before[0] == "g")
    for _ in range(5):
        assert [client.who() for client in clients] == promoted
    bench.set_traffic(Live("blue", 0, 0, 8))
    assert [client.who() for client in clients] == home
    assert {status for client in clients for status in client.statuses} == {200}


def test_a_session_of_polls_alone_keeps_its_side_while_the_candidate_has_a_share(
    bench: Bench, instances: dict[str, Polling]
) -> None:
    serve(bench, instances, "blue", "green")
    bench.set_traffic(Live("blue", 5000, 0, 7))
    clients = [Browser(bench.port) for _ in range(8)]
    assert sum(rest(bench, client) for client in clients) == 0
    assert {client.sid[0] for client in clients} == {"b", "g"}


@pytest.mark.parametrize("how", ["killed", "drained"])
def test_when_the_instance_goes_its_clients_get_another_one_and_no_error(
    bench: Bench, instances: dict[str, Polling], how: str
) -> None:
    serve(bench, instances)
    clients = spread(bench)
    home = [client.who() for client in clients]
    if how == "killed":
        instances["b1"].stop()
    else:
        assert bench.traffic.drain("shop", "blue", ["b1"], within()) == 0
    moved = [client.who() for client in clients]
    assert set(moved) == {"b2"}
    assert all(bool(client.given) == (before == "b1") for client, before in zip(clients, home, strict=True))
    if how == "drained":
        bench.traffic.attach("shop", "blue", [bench.server(instances["b1"])], within())
        assert [client.who() for client in clients] == moved
    assert {status for client in clients for status in client.statuses} == {200}


def test_a_drain_ends_although_clients_of_the_instance_go_on(bench: Bench, instances: dict[str, Polling]) -> None:
    serve(bench, instances)
    clients = spread(bench)
    end = threading.Event()

    def go_on(client: Browser) -> None:
        while not end.is_set():
            client.get("/slow?ms=20")

    threads = [threading.Thread(target=go_on, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        assert instances["b1"].begun.wait(30)
        assert bench.traffic.drain("shop", "blue", ["b1"], within()) == 0
        bench.traffic.detach("shop", "blue", ["b1"], within())
        instances["b1"].stop()
        before = [len(client.statuses) for client in clients]
        within().until(
            lambda: all(len(c.statuses) > n + 3 for c, n in zip(clients, before, strict=True)), "all go on elsewhere"
        )
    finally:
        end.set()
        for thread in threads:
            thread.join()
    assert {status for client in clients for status in client.statuses} == {200}


def test_more_instances_take_no_client_from_another_one(bench: Bench, instances: dict[str, Polling]) -> None:
    serve(bench, instances)
    clients = spread(bench)
    home = [client.who() for client in clients]
    with Polling("b3") as third:
        bench.traffic.attach("shop", "blue", [bench.server(third)], within())
        assert [client.who() for client in clients] == home
        new = [Browser(bench.port) for _ in range(9)]
        assert "b3" in {client.who() for client in new}
        bench.traffic.drain("shop", "blue", ["b3"], within())
        bench.traffic.detach("shop", "blue", ["b3"], within())
    assert {client.who() for client in new} <= {"b1", "b2"}
    assert {status for client in new for status in client.statuses} == {200}


@pytest.mark.parametrize("what", ["reload", "restart"])
def test_it_outlives_a_reload_and_a_restart_of_the_proxy(
    bench: Bench, instances: dict[str, Polling], what: str
) -> None:
    serve(bench, instances)
    clients = spread(bench)
    home = [client.who() for client in clients]
    if what == "reload":
        bench.put("blue", instances["b1"], service="api", path="/api")
    else:
        bench.kill_master()
        within().until(lambda: bench.master.answers(), "the proxy comes back")
    assert [client.who() for client in clients] == home
    assert all(client.given == [] for client in clients)


@pytest.mark.parametrize("forged", ["1", "b1", "0", "-1", "4294967297", "x" * 200, "", "%00", "1;2"])
def test_a_forged_cookie_draws_an_instance_like_none(bench: Bench, instances: dict[str, Polling], forged: str) -> None:
    serve(bench, instances)
    seen: Counter[str] = Counter()
    for _ in range(12):
        client = Browser(bench.port, {NAME: forged})
        seen[client.who()] += 1
        assert client.cookies[NAME] != forged
        assert client.who() == client.who()
    assert set(seen) == {"b1", "b2"}


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("GET", "/", True),
        ("GET", "/engine", True),
        ("POST", "/typed?type=application/json&cache=max-age=60", True),
        ("GET", "/typed?type=text/css&cache=max-age=60", False),
        ("GET", "/typed?type=text/html&cache=public,max-age=60", False),
        ("GET", "/typed?type=application/json&cache=no-store", True),
    ],
)
def test_a_cookie_comes_only_with_what_no_cache_was_told_to_keep(
    bench: Bench, instances: dict[str, Polling], method: str, path: str, given: bool
) -> None:
    serve(bench, instances)
    client = Browser(bench.port)
    assert client.get(path, method).status == 200
    assert [name.split("=")[0] for name in client.given] == ([NAME] if given else [])


def test_a_response_that_the_proxy_makes_itself_carries_none(bench: Bench, instances: dict[str, Polling]) -> None:
    serve(bench, instances, timeouts={"response": "100ms"})
    client = Browser(bench.port)
    assert client.get("/slow?ms=2000", "POST").status == 504
    assert client.given == []


def test_over_tls_it_is_secure(bench: Bench, instances: dict[str, Polling]) -> None:
    pem = certificate(bench.folder / "shop.pem", "shop.example.com")
    port = free_port()
    tls = {"certificates": [str(pem)], "listen": f"127.0.0.1:{port}", "redirect": False}
    serve(bench, instances, "blue", "green", domains=["shop.example.com"], tls=tls)
    bench.set_traffic(Live("blue", 10000, 0, 7))  # behind the shield, too
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    for secure in (True, False):
        connection = (
            http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
            if secure
            else http.client.HTTPConnection("127.0.0.1", bench.port, timeout=10)
        )
        connection.request("GET", "/", headers={"host": "shop.example.com"})
        response = connection.getresponse()
        given = response.headers.get_all("set-cookie") or []
        connection.close()
        assert [each.split("=")[0] for each in given if "." in each.split("=")[0]] == ["deployer-shop.green"]
        assert all(each.endswith("; SameSite=Lax" + "; Secure" * secure) for each in given), given


def _connect(port: int, source: str) -> str:
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
        connection.sendall(b"x")
        return connection.makefile().readline().strip()


def test_a_tcp_client_keeps_its_instance_by_its_address(bench: Bench) -> None:
    sources = [f"127.0.1.{n}" for n in range(1, 31)]

    def seen() -> dict[str, str]:
        return {source: _connect(bench.port, source) for source in sources}

    with TcpUpstream("b1") as one, TcpUpstream("b2") as two, TcpUpstream("b3") as three:
        bench.put("blue", one, two, mode="tcp", sticky=True, affinity="instance")
        bench.set_traffic(Live("blue"))
        home = seen()
        assert set(home.values()) == {"b1", "b2"}
        assert seen() == home
        bench.kill_master()
        within().until(lambda: bench.master.answers(), "the proxy comes back")
        assert seen() == home
        bench.traffic.attach("shop", "blue", [bench.server(three)], within())
        more = seen()
        assert {who for source, who in more.items() if who != home[source]} == {"b3"}
        bench.traffic.drain("shop", "blue", ["b3"], within())
        bench.traffic.detach("shop", "blue", ["b3"], within())
        assert seen() == home
        two.stop()
        left = seen()
        assert set(left.values()) == {"b1"}


def test_another_release_may_begin_with_it(bench: Bench, instances: dict[str, Polling]) -> None:
    """Each side is as its own release says: the one before did not have it."""
    release = bench.release(affinity="none", sticky=True)
    bench.traffic.configure(release, "blue", within())
    bench.traffic.attach("shop", "blue", [bench.server(instances[n]) for n in ("b1", "b2")], within())
    bench.traffic.configure(bench.release(affinity="instance", sticky=True), "green", within())
    bench.traffic.attach("shop", "green", [bench.server(instances[n]) for n in ("g1", "g2")], within())
    bench.set_traffic(Live("blue"))
    client = Browser(bench.port)
    client.get()
    assert client.given == []
    bench.set_traffic(Live("blue", 10000, 0, 7))
    first = client.who()
    assert {client.who() for _ in range(6)} == {first}

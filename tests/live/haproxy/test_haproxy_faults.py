"""Kills, reloads, ports that are taken, configurations that are refused."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest

from deployer import supervisor
from deployer.core.clock import SystemClock
from deployer.core.errors import DriverFailed, Refused
from deployer.drivers.traffic.haproxy import HAProxyTraffic
from deployer.model import Live
from deployer.supervisor.proc import Process
from tests.live.client import Load, get
from tests.live.proxies import Bench
from tests.live.seen import Seen
from tests.live.upstream import Upstream
from tests.ports import free_port
from tests.waiting import within

pytestmark = pytest.mark.live


def _answers(bench: Bench) -> bool:
    try:
        return get(bench.port).status == 200
    except OSError:
        return False


@pytest.mark.parametrize("victim", ["master", "worker"])
def test_killed_it_comes_back_with_the_same_share_and_servers(
    bench: Bench, blue: Upstream, green: Upstream, victim: str
) -> None:
    bench.both(blue, green)
    live = Live("blue", 2500, int(time.time()) + 3600, 5)
    bench.set_traffic(live)
    before = bench.workers()
    if victim == "master":
        bench.kill_master()
    else:
        bench.kill(before[0])
    within().until(lambda: bench.workers() != before and _answers(bench), "the proxy comes back", every=0.01)
    assert bench.traffic.read("shop") == live
    bench.set_traffic(Live("blue", 10000, 0, 5))
    assert get(bench.port).who == "g1"
    assert bench.traffic.servers("shop", "blue") == ((bench.server(blue), True),)


def test_a_proxy_that_is_gone_with_its_supervisor_is_started_by_the_next_call(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 2500, 0, 5))
    bench.traffic.parts.proxy.leave(within())  # as after a reboot: the files are there, nothing runs
    assert not _answers(bench)
    assert bench.traffic.read("shop") == Live("blue", 2500, 0, 5)
    assert _answers(bench)


@pytest.mark.long("twenty reloads under load", every_change=True)
def test_twenty_reloads_under_keep_alive_load_lose_nothing_and_keep_the_share(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    bench.both(blue, green)
    bench.set_traffic(Live("blue", 5000, 0, 6))
    with bench.traffic.samples("shop") as samples:
        with Load(bench.port, connections=6) as load:
            for n in range(20):
                before = bench.workers()
                bench.traffic.configure(bench.release(timeouts={"response": f"{61 + n}s"}), "green", within())
                assert bench.workers() != before, "this change needs a reload"
                assert bench.traffic.read("shop") == Live("blue", 5000, 0, 6)
                enough = load.answered + 200
                within().until(lambda: load.answered > enough, "the load goes on")  # noqa: B023 -- called at once
        assert load.failures == []
        counted = Seen(samples)
        within().until(lambda: counted.requests() >= load.answered, "the stream tells every request, over all reloads")
        assert counted.requests() == load.answered
        assert counted.candidate == load.seen["g1"]
        assert counted.lost == 0


def test_the_same_configuration_again_does_not_reload(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    before = bench.workers()
    bench.put("blue", blue)
    assert bench.workers() == before


def test_a_flip_reaches_connections_that_an_old_worker_keeps(bench: Bench, blue: Upstream, green: Upstream) -> None:
    """A connection in the middle of a request stays with its worker; its next side is that of the newest value."""
    bench.both(blue, green)
    head = b"GET /held HTTP/1.1\r\nhost: x\r\n\r\n"
    with socket.create_connection(("127.0.0.1", bench.port), timeout=10) as connection:
        connection.sendall(head + b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")  # the second one waits for the first
        assert blue.begun.wait(20)
        bench.traffic.configure(bench.release(timeouts={"response": "7s"}), "green", within())
        bench.set_traffic(Live("green"))
        blue.let_go()
        data = b""
        while chunk := connection.recv(65536):
            data += chunk
            if data.count(b"HTTP/1.1 200") == 2 and data.endswith(b"g1"):
                break
    assert data.count(b"x-who: b1") == 1
    assert b"x-who: b1" not in data.split(b"\r\n\r\n", 1)[1]


def test_an_idle_connection_of_an_old_worker_is_answered_after_a_move_to_servers_it_cannot_know(
    bench: Bench, blue: Upstream, green: Upstream
) -> None:
    """An old worker takes no new servers: its last request is answered by the side it has, which is drained last."""
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    connection = http.client.HTTPConnection("127.0.0.1", bench.port, timeout=10)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"b1"
    bench.put("green", green, timeouts={"response": "7s"})  # reloads, then attaches to the new worker only
    bench.set_traffic(Live("green"))
    assert get(bench.port).who == "g1"
    assert bench.traffic.drain("shop", "blue", ["b1"], within(0.3)) == 0
    assert any(w.old for w in bench.master.workers(within())), "the idle connection keeps the old worker"
    done: list[int] = []
    drain = threading.Thread(target=lambda: done.append(bench.traffic.drain("shop", "blue", ["b1"], within(60))))
    drain.start()
    drain.join(0.5)
    assert drain.is_alive(), "the drain waits for the client's next request, which can only go to b1"
    connection.request("GET", "/")
    response = connection.getresponse()
    assert (response.status, response.read()) == (200, b"b1")
    assert response.getheader("connection") == "close"
    connection.close()
    drain.join(60)
    assert done == [0]


def test_a_taken_port_is_refused_by_name_and_leaves_nothing(bench: Bench, state: object) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match=f"127.0.0.1:{port} is taken"):
            bench.traffic.configure(bench.release(listen=f"127.0.0.1:{port}"), "blue", within())
    assert not bench.root.exists()


def test_a_taken_port_leaves_the_running_proxy_as_it_was(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    files = {p: p.read_bytes() for p in bench.root.rglob("*") if p.is_file() and p.suffix in (".cfg", ".map", ".json")}
    before = bench.workers()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(Refused, match="is taken"):
            bench.traffic.configure(bench.release("cart", listen=f"127.0.0.1:{port}"), "blue", within())
    assert {p: p.read_bytes() for p in files} == files
    assert bench.workers() == before
    assert bench.traffic.read("cart") is None
    assert get(bench.port).who == "b1"


def test_two_proxies_cannot_share_a_port(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    other = HAProxyTraffic(bench.folder / "other", SystemClock(), program=bench.program)
    with pytest.raises(Refused, match="is taken"):
        other.configure(bench.release("cart"), "blue", within())


def test_a_refused_configuration_leaves_everything_and_says_why(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    files = {p: p.read_bytes() for p in bench.root.rglob("*") if p.is_file() and p.suffix in (".cfg", ".map", ".json")}
    before = bench.workers()
    tls = {"certificates": ["/nonexistent/shop.pem"], "listen": f"127.0.0.1:{free_port()}"}
    with pytest.raises(Refused, match=r"shop\.pem") as refused:
        bench.traffic.configure(bench.release(tls=tls), None, within())
    assert "the running one was not touched" in str(refused.value)
    assert {p: p.read_bytes() for p in files} == files
    assert not (bench.root / "staging").exists()
    assert bench.workers() == before
    assert get(bench.port).who == "b1"


def test_the_last_service_takes_the_proxy_with_it(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.put("blue", blue, service="cart", domains=["cart.example.com"])
    pid = bench.master_pid()
    bench.traffic.forget("shop", within())
    assert bench.traffic.read("shop") is None
    assert get(bench.port, headers={"host": "x"}).status == 404
    assert bench.traffic.read("cart") is not None
    bench.traffic.forget("cart", within())
    assert not bench.root.exists()
    assert Process.of(pid) is None


def test_a_folder_with_a_long_or_strange_name_is_refused(bench: Bench) -> None:
    with pytest.raises(Refused, match="97 is the most"):
        HAProxyTraffic(bench.folder / ("x" * 100), SystemClock())
    with pytest.raises(Refused, match="may have only letters"):
        HAProxyTraffic(bench.folder / "with space", SystemClock())


def test_a_folder_that_cannot_be_written_is_refused_by_name(bench: Bench) -> None:
    (bench.folder / "file").write_text("")
    traffic = HAProxyTraffic(bench.folder / "file" / "proxy", SystemClock(), program=bench.program)
    with pytest.raises(Refused, match="file/proxy cannot be written: Not a directory"):
        traffic.configure(bench.release(), "blue", within())


def test_a_proxy_whose_supervisor_was_killed_is_adopted_without_a_gap(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.set_traffic(Live("blue"))
    status = supervisor.read_status(bench.root / "process")
    assert status is not None
    bench.kill(status.supervisor_pid)
    before = bench.workers()
    with Load(bench.port, connections=2) as load:
        assert bench.traffic.read("shop") == Live("blue")
        within().until(lambda: load.answered > 50, "the load goes on")
    assert load.failures == []
    assert bench.workers() == before

    def adopted() -> bool:
        again = supervisor.read_status(bench.root / "process")
        return again is not None and again.supervisor_pid not in (0, status.supervisor_pid)

    within().until(adopted, "another one supervises it, and has written that down")


def test_a_proxy_that_cannot_start_again_says_why(bench: Bench, blue: Upstream) -> None:
    bench.put("blue", blue)
    bench.traffic.parts.proxy.leave(within())
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", bench.port))
        other.listen()
        with pytest.raises((Refused, DriverFailed), match="Address already in use"):
            bench.traffic.read("shop")
    assert bench.traffic.read("shop") is not None


def test_a_check_finds_what_configure_would_and_changes_nothing(bench: Bench, blue: Upstream) -> None:
    bench.traffic.inspection.check(bench.manifest(), within())
    assert not bench.root.exists()
    bench.put("blue", blue)
    before = bench.config(), bench.workers()
    bench.traffic.inspection.check(bench.manifest(timeouts={"response": "9s"}), within())
    tls = {"certificates": ["/nonexistent/shop.pem"], "listen": f"127.0.0.1:{free_port()}"}
    with pytest.raises(Refused, match=r"shop\.pem"):
        bench.traffic.inspection.check(bench.manifest(tls=tls), within())
    assert (bench.config(), bench.workers()) == before

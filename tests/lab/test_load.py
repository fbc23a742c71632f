"""The load generator sees every failure: a server that fails as told and the generator's books must agree exactly."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from tests.load import Load, LoadBroken, Options, Report
from tests.load.faulty import Fault, Faulty
from tests.services import require

QUICK = ("fresh", "busy", "sticky", "post", "paused")


def put_load(server: Faulty, options: Options, requests: int = 120) -> Report:
    with Load(server.url, options) as load:
        load.until(lambda now: now.answered + now.failed >= requests, f"{requests} requests")
        return load.stop()


def test_good_server_all_kinds_nothing_fails() -> None:
    options = Options(rate=200, slow_path="/slow?ms=300", pause=(0.05, 0.2), message_every=0.02)
    with Faulty(version="7") as server:
        report = put_load(server, options, 400)
    assert report.failed == 0, report.text()
    assert report.sent == server.requests
    assert report.by_version == {"7": report.sent}
    assert set(report.by_kind) == {"fresh", "busy", "sticky", "post", "paused", "slow", "websocket"}
    assert report.latency("slow").p50 >= 0.3
    assert report.latency().p50 < report.latency("slow").p50, "it is not that of the slow ones"


@pytest.mark.parametrize(
    ("fault", "every", "kinds", "path", "reason"),
    [
        ("reset", 7, QUICK, "/", "Connection reset by peer"),
        ("eof", 7, QUICK, "/", "closed without a response"),
        ("half", 7, QUICK, "/", "answer cut after 3 of 6 bytes"),
        ("garbage", 7, QUICK, "/", "not an HTTP answer"),
        ("500", 7, QUICK, "/", "HTTP 500"),
        ("500", 1, QUICK, "/", "HTTP 500"),
        ("eof", 5, ("busy",), "/", "closed without a response, on a connection used 4 times before"),
        ("eof", 5, ("post",), "/echo", "closed without a response"),
        ("other echo", 5, ("post",), "/echo", "the echo differs"),
        ("reset", 2, ("slow",), "/slow", "Connection reset by peer"),
        ("cut", 5, ("websocket",), "/ws", "WebSocket closed without a close frame"),
        ("close", 5, ("websocket",), "/ws", "WebSocket closed by the peer with 1001"),
    ],
)
def test_each_fault_is_counted(fault: Fault, every: int, kinds: tuple[str, ...], path: str, reason: str) -> None:
    options = Options(
        kinds=kinds, rate=400, busy=1, slow=2, pause=(0.05, 0.2), slow_path="/slow?ms=50", message_every=0.02
    )
    with Faulty(fault, every, path) as server:
        report = put_load(server, options, 100 if kinds == QUICK else 20)
    assert server.faults > 0
    assert report.failed == server.faults, report.text()
    assert report.sent == server.requests
    assert all(reason in failure.error for failure in report.failures), report.text()


@pytest.mark.parametrize(("kind", "path", "fault"), [("fresh", "/", "hang"), ("websocket", "/ws", "mute")])
def test_an_answer_that_does_not_come_is_a_failure(kind: str, path: str, fault: Fault) -> None:
    options = Options(kinds=(kind,), rate=50, message_every=0.02, timeout=1.0)
    with Faulty(fault, 10, path) as server:
        report = put_load(server, options, 25)
    assert report.failed == server.faults > 0, report.text()
    assert {failure.error for failure in report.failures} == {"no response within 1 s"}
    assert all(1.0 <= failure.seconds < 2.0 + report.lag for failure in report.failures)


def test_nobody_listens() -> None:
    with socket.socket() as taken:  # bound, never listening: nobody else gets the port either
        taken.bind(("127.0.0.1", 0))
        with Load(f"http://127.0.0.1:{taken.getsockname()[1]}", Options(kinds=(*QUICK, "websocket"))) as load:
            load.until(lambda now: now.failed >= 30, "30 failures")
            report = load.stop()
    assert report.answered == 0
    assert report.failed == report.sent
    assert all("cannot connect" in failure.error for failure in report.failures)


def test_an_idle_connection_closed_by_the_server_before_a_request_is_no_failure() -> None:
    with Faulty(idle=0.02) as server:  # much less than the pauses: who closes first must not hang on a busy host
        report = put_load(server, Options(kinds=("paused",), paused=20, pause=(0.7, 0.9)), 40)
    assert report.failed == 0, report.text()
    assert report.sent == server.requests >= 40


def test_a_websocket_may_move_only_when_that_is_allowed_and_it_was_asked_to() -> None:
    options = Options(kinds=("websocket",), message_every=0.05, websocket_may_move=True)
    with closing_websockets(after=0.12, code=1001) as url, Load(url, options) as load:
        load.until(lambda now: now.moved >= 3, "three moves")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert report.moved >= 3
    with closing_websockets(after=0.12, code=1000) as url, Load(url, options) as load:
        load.until(lambda now: now.failed >= 1, "a close that asks for nothing")


def test_websocket_agrees_with_a_library_that_is_not_ours() -> None:
    options = Options(kinds=("websocket",), websockets=3, message_every=0.01)
    with closing_websockets(after=30, code=1000, ping=True) as url, Load(url, options) as load:
        load.until(lambda now: now.answered > 150, "150 echoes")
        report = load.stop()
    assert report.failed == 0, report.text()


@contextmanager
def closing_websockets(after: float, code: int, ping: bool = False) -> Iterator[str]:
    """Echo for a while, then close between two messages."""

    def echo(connection: ServerConnection) -> None:
        end = time.monotonic() + after
        while (left := end - time.monotonic()) > 0:
            if ping:
                connection.ping()
            try:
                connection.send(connection.recv(timeout=left))
            except TimeoutError:
                break
        connection.close(code)

    with serve(echo, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join(20)


def test_tls_with_the_name_of_the_host_header(state: Path) -> None:
    require("openssl")
    certificate, key = str(state / "cert.pem"), str(state / "key.pem")
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=shop.test", "-addext", "subjectAltName=DNS:shop.test"]
    command = [*make, *names, "-out", certificate, "-keyout", key]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    kinds = ("fresh", "busy", "post", "websocket")
    with Faulty("500", 10, tls=context) as server:
        trusted = put_load(server, Options(kinds=kinds, host="shop.test", ca=certificate), 60)
        assert trusted.failed == server.faults > 0, trusted.text()
        assert trusted.sent == server.requests
        other = put_load(server, Options(kinds=("fresh",), host="other.test", ca=certificate), 10)
    assert other.answered == 0
    assert all("cannot connect" in failure.error for failure in other.failures)


def test_sticky_clients_bring_their_cookies_back() -> None:
    with Faulty() as server:
        report = put_load(server, Options(kinds=("sticky",), clients=5), 50)
    assert server.cookies == {"roll=17"}
    assert set(report.journeys()) == {"0", "1", "2", "3", "4"}


@pytest.mark.crowd  # what it sends in two seconds is measured
def test_rate_is_kept() -> None:
    with Faulty() as server, Load(server.url, Options(kinds=("fresh", "busy", "sticky", "post"), rate=100)) as load:
        load.until(lambda now: now.answered > 20, "the load has started")
        load.mark("start")
        time.sleep(2.0)  # the measured time itself
        load.mark("end")
        report = load.stop()
    assert 150 <= report.after("start").before("end").sent <= 250


@pytest.mark.crowd  # what it sends in three seconds is measured
def test_bursts_are_as_many_requests_in_less_time() -> None:
    options = Options(kinds=("fresh", "busy"), rate=100, burst=(1.0, 0.2))
    with Faulty() as server, Load(server.url, options) as load:
        load.until(lambda now: now.answered > 5, "the load has started")
        load.mark("start")
        time.sleep(3.0)  # the measured time itself
        load.mark("end")
        report = load.stop().after("start").before("end")
    assert 200 <= report.sent <= 400, report.text()
    tenths = {int(r.start * 10) for r in report.requests}
    assert len(tenths) <= 18, f"requests in {len(tenths)} of 30 tenths of a second"


def test_a_plan_is_kept_whatever_becomes_of_the_requests_before(tmp_path: Path) -> None:
    plan = tmp_path / "plan"
    moments = [n * 0.02 for n in range(50)]
    plan.write_text("".join(f"{at} /slow?ms={3000 if n == 0 else 20 + n}\n" for n, at in enumerate(moments)))
    with Faulty() as server, Load(server.url, Options(kinds=("planned",), plan=str(plan))) as load:
        load.until(lambda now: now.answered == len(moments), "all of it")
        report = load.stop()
    assert report.failed == 0, report.text()
    assert report.sent == server.requests == len(moments)
    came = {int(r.client): r for r in report.requests}
    assert all(came[n].start - came[0].start >= at - 0.01 - report.lag for n, at in enumerate(moments))
    assert all(came[n].seconds >= (20 + n) / 1000 for n in range(1, len(moments)))
    assert came[1].end < came[0].end, "the first one was waited for"


def test_failures_are_counted_by_method() -> None:
    options = Options(kinds=("sticky", "post"), rate=200, clients=5, sticky_posts=0.5)
    with Faulty("500", 3, "/echo") as server:
        report = put_load(server, options, 200)
    assert report.bad == {"POST": server.faults}, report.text()
    assert report.only("sticky", method="POST").failed > 0
    assert report.only(method="GET").failed == 0
    assert report.only("sticky", method="GET").sent > 0


@pytest.mark.crowd  # how long a slot is free is measured
def test_every_slot_of_slow_requests_is_always_taken() -> None:
    with Faulty() as server, Load(server.url, Options(kinds=("slow",), slow=3, slow_path="/slow?ms=500")) as load:
        load.until(lambda now: now.answered >= 9, "nine slow answers")
        report = load.stop()
    assert report.failed == 0
    clients = [report.only(client=str(n)).requests for n in range(3)]
    begin, end = max(c[0].start for c in clients), min(c[-1].end for c in clients)
    assert report.at_once == 3
    moments = [begin + 0.05 * n for n in range(int((end - begin) / 0.05))]
    taken = [sum(r.start <= moment <= r.end for r in report.requests) for moment in moments]
    assert sum(n == 3 for n in taken) >= 0.9 * len(taken) > 9, taken  # there is a moment between two requests


def test_marks_cut_the_account_and_versions_have_times() -> None:
    one_by_one = Options(kinds=("busy",), busy=1, rate=100)  # of two at once either may be the last of its version
    with Faulty(version="1") as server, Load(server.url, one_by_one) as load:
        load.until(lambda now: now.by_version.get("1", 0) >= 20, "version 1")
        server.version = "2"
        load.mark("switch")
        load.until(lambda now: now.by_version.get("2", 0) >= 20, "version 2")
        assert load.report().answered >= 40  # also readable while it runs
        report = load.stop()
    assert report.before("switch").sent + report.after("switch").sent == report.sent
    assert set(report.after("switch").by_version) == {"2"}
    assert report.seen["1"][1] <= report.seen["2"][0]


def test_a_load_process_that_dies_is_no_success() -> None:
    def die_under_load(url: str, then: Callable[[Load], object]) -> None:
        with Load(url, Options(kinds=("fresh",))) as load:
            load.until(lambda now: now.answered > 5, "the load has started")
            assert load._process is not None
            load._process.kill()
            load._process.wait(20)
            then(load)

    with Faulty() as server:
        with pytest.raises(LoadBroken, match="ended with -9"):
            die_under_load(server.url, Load.counters)
        with pytest.raises(LoadBroken, match="ended with -9"):
            die_under_load(server.url, lambda load: None)  # leaving the block does not pass for a success


def test_waiting_ends() -> None:
    with Faulty() as server, Load(server.url, Options(kinds=("fresh",))) as load:
        with pytest.raises(LoadBroken, match=r"version 9: not within 0\.3 s"):
            load.until(lambda now: "9" in now.by_version, "version 9", 0.3)
        load.stop()


@pytest.mark.parametrize("url", ["127.0.0.1:80", "ftp://127.0.0.1", "http://"])
def test_a_bad_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not a base URL"):
        Load(url)


def test_a_burst_without_time_is_refused() -> None:
    with pytest.raises(ValueError, match="burst"):
        Options(burst=(1.0, 0.0))


def test_a_plan_belongs_to_what_is_planned() -> None:
    with pytest.raises(ValueError, match="a plan go together"):
        Options(kinds=("planned",))
    with pytest.raises(ValueError, match="a plan go together"):
        Options(plan="/plan")


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown kinds of load: quick"):
        Options(kinds=("quick",))

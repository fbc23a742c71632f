"""Who wakes a service that sleeps: by HTTP/1.1, WebSocket, HTTP/2, gRPC; alone, in a crowd, by two proxies at once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import requests

from deployer.drivers.traffic.haproxy import waker
from deployer.drivers.traffic.haproxy.layout import Home
from tests.live.h2wire import H2Client
from tests.live.shop import Shop
from tests.load.options import Options, Target
from tests.load.websocket import WebSocket
from tests.load.wire import Connection
from tests.ports import free_port
from tests.waiting import within

BODY = os.urandom(1_000_000)
SHA = hashlib.sha256(BODY).hexdigest()


class ComeAgain(AssertionError):
    """The answer was a 503 that says when to come again."""


def _refuse_later(status: int, retry_after: str | None) -> None:
    if status == 503 and retry_after:
        raise ComeAgain(f"503, Retry-After: {retry_after}")


def post(shop: Shop) -> None:
    answer = requests.post(f"{shop.url}/any", data=BODY, timeout=60)
    _refuse_later(answer.status_code, answer.headers.get("Retry-After"))
    assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()) == (200, SHA), answer.status_code


def get(shop: Shop) -> None:
    answer = requests.get(f"{shop.url}/version", timeout=60)
    _refuse_later(answer.status_code, answer.headers.get("Retry-After"))
    assert (answer.status_code, answer.text.strip()) == (200, "1.0"), answer.status_code


def talk(shop: Shop) -> None:
    """Open a WebSocket, and use it."""

    async def both() -> None:
        opened = WebSocket(Connection(Target.of(shop.url, Options())))
        answer = await opened.open("/ws", ())
        _refuse_later(answer.status, answer.header("Retry-After"))
        assert answer.status == 101, answer
        await opened.echo("hello")
        await opened.close()

    asyncio.run(asyncio.wait_for(both(), 60))


def crowd(shop: Shop) -> None:
    """Have many come at once."""
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda n: post(shop) if n % 10 == 0 else get(shop), range(40)))


def streams(shop: Shop) -> None:
    """Call three times on one connection of HTTP/2."""
    client = H2Client(socket.create_connection(("127.0.0.1", shop.port), timeout=60), f"127.0.0.1:{shop.port}")
    try:
        assert [client.call("/any")[0] for _ in range(3)] == ["200"] * 3
    finally:
        client.close()


def call(shop: Shop) -> None:
    """Make two calls of gRPC on one connection, the first of which is larger than what waits anywhere."""
    with closing(H2Client(socket.create_connection(("127.0.0.1", shop.port), timeout=60))) as channel:
        answer = channel.call(message=BODY)
        _refuse_later(int(answer[0]), channel.headers.get("retry-after"))
        assert answer == ("200", "1.0", "0"), answer
        assert channel.trailers["grpc-message"] == SHA
        assert channel.call() == ("200", "1.0", "0")


def calls(shop: Shop) -> None:
    """Have many call at once, each on a connection of its own."""
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda _: call(shop), range(20)))


@contextmanager
def second_proxy(shop: Shop) -> Iterator[str]:
    """Run another HAProxy whose requests go to the same waker at any time; yield its address."""
    found = Home(shop.state / "proxy", shop.state / "proxy" / "haproxy.cfg").inside.path(
        waker.socket(shop.name, "blue")
    )
    port, config = free_port(), shop.folder / "second.cfg"
    config.write_text(
        "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n"
        f"listen second\n bind 127.0.0.1:{port}\n server waker unix@{found} maxconn 32 pool-max-conn 0\n"
    )
    with subprocess.Popen([shutil.which("haproxy") or "/usr/sbin/haproxy", "-db", "-f", str(config)]) as second:
        try:
            within(30.0).until(lambda: _listens(port), "the second proxy listens")
            yield f"http://127.0.0.1:{port}"
        finally:
            second.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def by_both(second: str, shop: Shop) -> None:
    """Come by both proxies at the same moment."""
    ready = threading.Barrier(2)

    def come(url: str) -> requests.Response:
        ready.wait(30)
        return requests.post(f"{url}/any", data=BODY, timeout=60)

    with ThreadPoolExecutor(2) as pool:
        for answer in pool.map(come, (second, shop.url)):
            assert (answer.status_code, hashlib.sha256(answer.content).hexdigest()) == (200, SHA)


Use = Callable[[Shop], None]
USES: tuple[Use, ...] = (get, post, talk, streams, crowd)

"""Users have left a place: what stays open there is closed in portions, and no request is."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from deployer.model import Colour, Live, Server
from tests.live.proxies import Bench
from tests.waiting import within

pytestmark = pytest.mark.live

KEY, PROOF = "dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # those of RFC 6455
UPGRADE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
LONG = 3_000_000  # bytes, more than any buffer on the way


class Held:
    """An instance whose responses wait in the middle until `go`; `/ws` is a WebSocket that repeats what it gets."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self.go.set()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, connection.makefile("rb") as said:
                while line := said.readline():
                    length = 0
                    while header := said.readline().strip():
                        name, _, value = header.partition(b":")
                        length = int(value) if name.lower() == b"content-length" else length
                    said.read(length)
                    if not self._answer(connection, line.split()[1].decode()):
                        return
        except OSError:
            return  # the proxy has closed it

    def _answer(self, connection: socket.socket, path: str) -> bool:
        """Answer; return whether the connection stays open."""
        head = b"HTTP/1.1 200 OK\r\n"
        if path == "/ws":
            proof = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {PROOF}\r\n\r\n"
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n" + proof.encode())
            while got := connection.recv(100):
                connection.sendall(got)
            return False
        if path == "/slow":
            self.go.wait(120)
            connection.sendall(head + b"Content-Length: 4\r\n\r\ndone")
        elif path == "/chunked":
            connection.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            self.go.wait(120)
            connection.sendall(b"4\r\ndone\r\n0\r\n\r\n")
        elif path == "/until-closed":
            connection.sendall(head + b"\r\nhalf")
            self.go.wait(120)
            connection.sendall(b"done")
            return False
        elif path == "/long":
            connection.sendall(head + b"Content-Length: %d\r\n\r\n" % (LONG + 4) + b"x" * LONG + b"done")
        else:
            connection.sendall(head + b"Content-Length: 4\r\n\r\ndone")
        return True


@pytest.fixture
def held() -> Iterator[Held]:
    with closing(Held()) as instance:
        yield instance


def _ask(bench: Bench, path: str, headers: str = "", method: str = "GET", window: int = 0) -> socket.socket:
    made = socket.socket()
    if window:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    made.settimeout(10)
    made.connect(("127.0.0.1", bench.port))
    made.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}\r\n".encode())
    return made


def _websocket(bench: Bench) -> socket.socket:
    made = _ask(bench, "/ws", UPGRADE)
    assert b" 101 " in made.recv(1000)
    _echo(made)
    return made


def _echo(websocket: socket.socket) -> None:
    websocket.sendall(b"still there")
    assert websocket.recv(100) == b"still there"


def _is_open(connection: socket.socket) -> bool:
    """Return whether nothing has been said and nothing closed."""
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False
    finally:
        connection.settimeout(10)


def _put(bench: Bench, held: Held, **traffic: Any) -> None:
    colours: tuple[Colour, ...] = ("blue", "green")
    for colour in colours:
        release = bench.release(health={"tcp": True}, **traffic)
        bench.traffic.configure(release, colour, within())
        bench.traffic.configure(release, None, within())
        bench.traffic.attach("shop", colour, [Server(colour[0] + "1", held.address)], within())
    bench.set_traffic(Live("blue"))


def _whole(connection: socket.socket) -> bytes:
    """Read a response to its end."""
    got = b""
    while not got.endswith((b"done", b"0\r\n\r\n")):
        more = connection.recv(65536)
        assert more, f"cut after {len(got)} bytes: {got[-60:]!r}"
        got += more
    return got


def still_open(bench: Bench) -> dict[str, int]:
    """Count what is open at each place."""
    return {place: load.open for place, load in bench.traffic.inspection.load("shop").items()}


def test_websockets_are_closed_in_portions_and_no_request_is(bench: Bench, held: Held) -> None:
    _put(bench, held)
    with ExitStack() as opened:
        old = [opened.enter_context(_websocket(bench)) for _ in range(4)]  # these will be on an old worker
        requests = [opened.enter_context(_ask(bench, path)) for path in ("/slow", "/chunked", "/until-closed")]
        requests.append(opened.enter_context(_ask(bench, "/long", window=2000)))
        bench.traffic.configure(bench.release(timeouts={"response": "33s"}, health={"tcp": True}), "blue", within())
        new = [opened.enter_context(_websocket(bench)) for _ in range(8)]
        upload = opened.enter_context(_ask(bench, "/slow", "Content-Length: 9\r\n", "POST"))
        upload.sendall(b"half")
        within().until(lambda: still_open(bench)["blue"] == 17, "all of it is open")
        bench.set_traffic(Live("green"))
        live = opened.enter_context(_websocket(bench))
        assert still_open(bench) == {"blue": 17, "green": 1}

        assert bench.traffic.hand_over("shop", "blue", 0.25, within()) == 3, "a part at each worker"
        assert still_open(bench) == {"blue": 14, "green": 1}
        assert bench.traffic.hand_over("shop", "blue", 1, within()) == 9
        assert bench.traffic.hand_over("shop", "blue", 1, within()) == 0
        assert not any(map(_is_open, [*old, *new]))
        _echo(live)
        assert still_open(bench) == {"blue": 5, "green": 1}, "the requests are there"

        held.go.set()
        upload.sendall(b"other")
        for request in [*requests, upload]:
            _whole(request)
        within().until(lambda: still_open(bench)["blue"] == 0, "nothing is open")


def test_sessions_of_a_tcp_service_are_closed(bench: Bench, held: Held) -> None:
    _put(bench, held, mode="tcp")
    with ExitStack() as opened:
        old = [opened.enter_context(_websocket(bench)) for _ in range(3)]
        bench.set_traffic(Live("green"))
        live = opened.enter_context(_websocket(bench))
        assert still_open(bench) == {"blue": 3, "green": 1}
        assert bench.traffic.hand_over("shop", "blue", 1, within()) == 3
        assert not any(map(_is_open, old))
        _echo(live)


def test_requests_that_come_and_go_meanwhile_are_not_cut(bench: Bench, held: Held) -> None:
    """HAProxy gives the number of a session that has ended to the next one."""
    _put(bench, held)
    held.go.set()
    ended, lost, answered = threading.Event(), [], 0

    def load() -> None:
        nonlocal answered
        while not ended.is_set():
            with _ask(bench, "/") as request:
                try:
                    _whole(request)
                    answered += 1
                except (OSError, AssertionError) as error:
                    lost.append(error)

    users = [threading.Thread(target=load) for _ in range(4)]
    for user in users:
        user.start()
    try:
        for _ in range(10):
            with ExitStack() as opened:
                for _ in range(20):
                    opened.enter_context(_websocket(bench))
                bench.set_traffic(Live("green"))
                assert bench.traffic.hand_over("shop", "blue", 1, within()) == 20
                bench.set_traffic(Live("blue"))
    finally:
        ended.set()
        for user in users:
            user.join(20)
    assert answered > 100
    assert not lost

"""The waker on real sockets: one start for all who wait, bytes as they came, and an answer where nothing starts."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import h2.connection
import pytest
from h2.events import ResponseReceived, StreamEnded

from deployer import __version__
from deployer.core.errors import DriverFailed
from deployer.drivers.sleeping.sleeper import LocalSleeper
from deployer.drivers.sleeping.waker import Waker
from deployer.drivers.traffic.haproxy import spec as specs
from deployer.drivers.traffic.haproxy import waker
from deployer.drivers.traffic.haproxy.layout import Home
from deployer.drivers.traffic.haproxy.spec import BackendServer, BackendSide, Spec
from deployer.model import Server
from tests.unit.test_haproxy_render import having, spec

SCALE = {"min": 0, "max": 4, "concurrency": 10}


class Sleeper:
    """Wakes when it is told to."""

    def __init__(self, side: BackendSide) -> None:
        self._side, self.starts, self.error, self.paused = side, 0, "", 0.0
        self.raises: Exception | None = None
        self.prepared: list[str] = []
        self.unknown = False
        self.may_wake = threading.Event()

    def side(self, _service: str, _colour: str) -> BackendSide:
        if self.unknown:
            raise DriverFailed("the proxy does not know it", "")
        return self._side

    def rests_for(self, _service: str, _colour: str) -> float:
        return self.paused

    def prepare(self, service: str, _colour: str) -> None:
        self.prepared.append(service)

    def wake(self, _service: str, _colour: str) -> BackendServer:
        self.starts += 1
        self.may_wake.wait(20)
        if self.raises:
            raise self.raises
        if self.error:
            raise DriverFailed(self.error, "")
        return self._side.members[0]


class Scene:
    """A waker of one service, and an instance behind it that gives back what it gets."""

    def __init__(self, home: Home, mode: str = "http", protocol: str = "http1", wait: str = "30s") -> None:
        self.home, self.wait = home, wait  # on a busy host what is awake after a moment is so after a while
        self.traffic: dict[str, Any] = {"mode": mode, "protocol": protocol}
        self.got: list[bytes] = []

    async def __aenter__(self) -> Scene:
        server = await asyncio.start_server(self._echo, "127.0.0.1", 0)
        self.server = server
        port = server.sockets[0].getsockname()[1]
        known = having(
            spec("shop", scale={**SCALE, "wait": self.wait}, **self.traffic), Server("shop-r1-1", f"127.0.0.1:{port}")
        )
        self.known: Spec = known.with_side("blue", known.blue.sleeping(1.0))
        self.home.create()
        specs.save(self.home.services, self.known)
        self.sleeper = Sleeper(self.known.blue)
        self.ours, self.parents = os.pipe()
        self.waker = Waker(self.home, cast(LocalSleeper, self.sleeper))
        self.task = asyncio.create_task(self.waker.run(self.ours))
        await self.listens(waker.CONTROL)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.sleeper.may_wake.set()
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task
        os.close(self.ours)
        self.orphan()
        self.server.close()

    def orphan(self) -> None:
        """Let the parent of the waker end."""
        parents, self.parents = self.parents, -1
        if parents >= 0:
            os.close(parents)

    async def listens(self, name: str) -> None:
        async with asyncio.timeout(20):
            while not self.home.inside.path(name).exists():
                await asyncio.sleep(0.01)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        whole = await reader.read()
        self.got.append(whole)
        writer.write(whole)
        await writer.drain()
        writer.close()

    async def ask(self, said: bytes) -> bytes:
        """Send something, and read to the end what comes back."""
        path = str(self.home.inside.path(waker.socket("shop", "blue")))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        await writer.drain()
        writer.write_eof()
        async with asyncio.timeout(30):
            answer = await reader.read()
        writer.close()
        return answer


@pytest.fixture
def home() -> Iterator[Home]:
    root = Path(tempfile.mkdtemp(prefix="dp", dir="/tmp"))
    yield Home(root / "proxy", root / "proxy" / "haproxy.cfg")
    shutil.rmtree(root)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scene)


def test_all_who_come_wait_for_one_start_and_each_gets_its_own_bytes_back(home: Home) -> None:
    bodies = [os.urandom(300_000 + n) for n in range(8)]

    async def play() -> None:
        async with Scene(home) as scene:
            asked = [asyncio.create_task(scene.ask(body)) for body in bodies]
            while not scene.sleeper.starts:
                await asyncio.sleep(0.01)
            assert scene.got == [], "no byte goes on before it is awake"
            scene.sleeper.may_wake.set()
            answers = await asyncio.gather(*asked)
            assert [hashlib.sha256(a).digest() for a in answers] == [hashlib.sha256(b).digest() for b in bodies]
            assert scene.sleeper.starts < len(bodies)
            assert sorted(map(len, scene.got)) == [len(body) for body in bodies], "none is repeated"

    run(play())


def test_a_start_that_fails_is_a_503_with_the_time_of_the_next_try(home: Home) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            scene.sleeper.error = "gone"
            scene.sleeper.may_wake.set()
            answer = await scene.ask(b"POST / HTTP/1.1\r\n\r\n" + os.urandom(200_000))
            assert answer.startswith(b"HTTP/1.1 503 "), answer[:80]
            scene.sleeper.paused = 7.2
            answer = await scene.ask(b"GET / HTTP/1.1\r\n\r\n")
            assert b"\r\nRetry-After: 8\r\n" in answer
            assert scene.sleeper.starts == 1, "no other start within the pause"
            assert scene.got == []

    run(play())


def test_a_start_that_fails_is_a_503_to_each_call_of_grpc(home: Home) -> None:
    async def play() -> None:
        async with Scene(home, protocol="h2") as scene:
            scene.sleeper.paused = 7.2
            client = h2.connection.H2Connection()
            client.initiate_connection()
            for stream in (1, 3):
                head = [(":method", "POST"), (":scheme", "http"), (":authority", "shop"), (":path", "/Buy")]
                client.send_headers(stream, head)
                client.send_data(stream, os.urandom(9000), end_stream=stream == 3)
            answer = await scene.ask(client.data_to_send())
            found = client.receive_data(answer)
            told = {each.stream_id: dict(each.headers) for each in found if isinstance(each, ResponseReceived)}
            assert told == {stream: {b":status": b"503", b"retry-after": b"8"} for stream in (1, 3)}
            assert {each.stream_id for each in found if isinstance(each, StreamEnded)} == {1, 3}
            assert (scene.sleeper.starts, scene.got) == (0, [])

    run(play())


def test_who_has_waited_too_long_is_told_and_the_start_goes_on(home: Home) -> None:
    async def play() -> None:
        async with Scene(home, wait="2s") as scene:
            answer = await scene.ask(b"GET / HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 503 "), answer[:80]
            scene.sleeper.may_wake.set()
            async with asyncio.timeout(30):
                while await scene.ask(b"later") != b"later":
                    pass

    run(play())


def test_a_tcp_client_is_cut_off_where_nothing_starts(home: Home) -> None:
    async def play() -> None:
        async with Scene(home, mode="tcp") as scene:
            scene.sleeper.error = "gone"
            scene.sleeper.may_wake.set()
            with suppress(ConnectionError):
                assert await scene.ask(b"hello") == b""

    run(play())


def test_it_says_its_version_and_listens_for_who_came_since(home: Home) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            other = spec("other", scale=SCALE)
            specs.save(home.services, other)
            reader, writer = await asyncio.open_unix_connection(str(home.inside.path(waker.CONTROL)))
            assert (await reader.read()).decode().strip() == __version__
            writer.close()
            assert scene.sleeper.prepared == ["shop", "shop", "other", "other"], "before somebody waits for a start"
            assert home.inside.path(waker.socket("other", "green")).exists()
            assert scene.known.service == "shop"

    run(play())


@pytest.mark.parametrize("raised", [OSError("disk full"), RuntimeError("a bug")])
def test_whatever_goes_wrong_is_answered(home: Home, raised: Exception) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            scene.sleeper.may_wake.set()
            scene.sleeper.raises = raised
            assert (await scene.ask(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
            scene.sleeper.raises, scene.sleeper.unknown = None, True
            assert (await scene.ask(b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 503 ")
            scene.sleeper.unknown = False
            assert await scene.ask(b"later") == b"later"

    run(play())


def test_a_service_whose_file_cannot_be_read_keeps_no_other_from_waking(home: Home) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            (home.services / "shop.json").write_text("{")
            (home.services / "aaa.json").write_text("{")
            specs.save(home.services, spec("other", scale=SCALE))
            reader, writer = await asyncio.open_unix_connection(str(home.inside.path(waker.CONTROL)))
            async with asyncio.timeout(20):
                assert (await reader.read()).decode().strip() == __version__
            writer.close()
            assert home.inside.path(waker.socket("other", "green")).exists()
            scene.sleeper.may_wake.set()
            assert await scene.ask(b"still") == b"still", "and it still wakes itself"

    run(play())


def test_what_is_passed_on_outlives_the_waker_and_the_next_one_takes_its_place(home: Home) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            scene.sleeper.may_wake.set()
            path = str(home.inside.path(waker.socket("shop", "blue")))
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(b"first half, ")
            await writer.drain()
            await started(scene)

            scene.orphan()
            await asks_nobody(scene)
            assert await scene.ask(b"meanwhile") == b"meanwhile", "it listens until another one does"
            successor = asyncio.create_task(Waker(home, cast(LocalSleeper, scene.sleeper)).run())
            await answers(home)
            assert await scene.ask(b"later") == b"later"
            assert not scene.task.done()
            writer.write(b"second half")
            writer.write_eof()
            async with asyncio.timeout(20):
                assert await reader.read() == b"first half, second half"
            writer.close()
            async with asyncio.timeout(20):
                await scene.task
            successor.cancel()
            with suppress(asyncio.CancelledError):
                await successor

    run(play())


def test_a_waker_that_nobody_follows_ends_at_once(home: Home) -> None:
    async def play() -> None:
        async with Scene(home) as scene:
            home.inside.path(waker.CONTROL).unlink()
            scene.orphan()
            async with asyncio.timeout(20):
                await scene.task

    run(play())


async def started(scene: Scene) -> None:
    async with asyncio.timeout(20):
        while not scene.sleeper.starts:
            await asyncio.sleep(0.01)


async def question(home: Home) -> bytes:
    """Ask which version listens; nothing where none does."""
    try:
        reader, writer = await asyncio.open_unix_connection(str(home.inside.path(waker.CONTROL)))
    except OSError:
        return b""
    said = await reader.read()
    writer.close()
    return said


async def asks_nobody(scene: Scene) -> None:
    async with asyncio.timeout(20):
        while waker.CONTROL in scene.waker._listening:
            await asyncio.sleep(0.01)


async def answers(home: Home) -> None:
    async with asyncio.timeout(20):
        while not await question(home):
            await asyncio.sleep(0.01)

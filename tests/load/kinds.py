"""The kinds of clients that make up the load."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from http.cookies import SimpleCookie
from pathlib import Path

from tests.load.ledger import Ledger
from tests.load.options import PLANNED, Options, Target
from tests.load.websocket import WebSocket
from tests.load.wire import Answer, Connection, Lost, Question

CLOSE = ("Connection", "close")
AGAIN = 0.2  # seconds before a client that failed tries again
PARTS = {"fresh": 0.45, "busy": 0.3, "sticky": 0.15, "post": 0.1}  # of the rate


class Crowd:
    """All clients of one run."""

    def __init__(self, target: Target, options: Options, ledger: Ledger) -> None:
        self.target = target
        self.options = options
        self.ledger = ledger
        self.stopping = asyncio.Event()
        self.headers = tuple(options.headers.items())

    async def run(self) -> None:
        """Keep the load up until `stopping` is set, then end what is in progress."""
        async with asyncio.TaskGroup() as group:
            for kind in self.options.kinds:
                for client in self._clients(kind, group):
                    group.create_task(client)

    def _clients(self, kind: str, group: asyncio.TaskGroup) -> list[Coroutine[None, None, None]]:
        o = self.options
        match kind:
            case "fresh":
                return [self.fresh(group)]
            case "planned":
                return [self.planned(group)]
            case "busy":
                return [self.kept(kind, n, self._pace(kind, o.busy), self._get) for n in range(o.busy)]
            case "post":
                return [self.kept(kind, n, self._pace(kind, o.posters), self._post) for n in range(o.posters)]
            case "paused":
                return [self.kept(kind, n, lambda: random.uniform(*o.pause), self._get) for n in range(o.paused)]
            case "sticky":
                return [self.sticky(n) for n in range(o.clients)]
            case "slow":
                return [self.slow(n) for n in range(o.slow)]
            case _:
                return [self.websocket(n) for n in range(o.websockets)]

    # clients

    async def fresh(self, group: asyncio.TaskGroup) -> None:
        """A new connection for each request, begun on time whatever became of those before."""
        question = Question(path=self.options.path, headers=(*self.headers, CLOSE))
        async for number in self._beats(self._pace("fresh", 1)):
            group.create_task(self._single("fresh", str(number), question))

    async def planned(self, group: asyncio.TaskGroup) -> None:
        """A new connection for each line of the plan, at its moment; who is late makes up for it."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        with Path(self.options.plan).open(encoding="utf-8") as plan:
            for number, line in enumerate(plan):
                at, path = line.split()
                if not await self._wait(began + float(at) - loop.time()):
                    return
                question = Question(path=path, headers=(*self.headers, CLOSE))
                group.create_task(self._single(PLANNED, str(number), question))

    async def kept(self, kind: str, number: int, pace: Callable[[], float], make: Callable[[], Question]) -> None:
        """A keep-alive connection, opened again only when the peer closed it before a request was written."""
        connection = Connection(self.target)
        async for _ in self._beats(pace):
            if not await connection.reusable():
                await connection.close()
                connection = Connection(self.target)
            question = make()
            exchange = self._ask(connection, question)
            answer = await self.ledger.account(kind, str(number), exchange, question.method)
            if answer is None or not answer.keep:
                await connection.close()
                connection = Connection(self.target)
        await connection.close()

    async def sticky(self, number: int) -> None:
        """A client with a cookie jar and a new connection for each request."""
        jar: dict[str, str] = {}
        async for _ in self._beats(self._pace("sticky", self.options.clients)):
            cookies = (("Cookie", "; ".join(f"{k}={v}" for k, v in jar.items())),) if jar else ()
            question = self._post() if random.random() < self.options.sticky_posts else self._get()
            question = replace(question, headers=(*question.headers, *cookies, CLOSE))
            answer = await self._single("sticky", str(number), question)
            if answer is not None:
                _store(jar, answer)

    async def slow(self, number: int) -> None:
        """One long request after the other; the clients begin at different moments."""
        question = Question(path=self.options.slow_path, headers=(*self.headers, CLOSE))
        await self._wait(number * 3.0 / self.options.slow)
        while not self.stopping.is_set():
            if await self._single("slow", str(number), question) is None:
                await self._wait(AGAIN)

    async def websocket(self, number: int) -> None:
        """A WebSocket that must stay open and answer each message, the last one when all the rest has ended."""
        client = str(number)
        while not self.stopping.is_set():
            socket = WebSocket(Connection(self.target))
            hello = await self.ledger.account(
                "websocket", client, socket.open(self.options.websocket_path, self.headers)
            )
            if hello is not None and hello.status == 101:
                await self._converse(socket, client, hello)
            await socket.close()
            if not socket.moved():
                await self._wait(AGAIN)

    async def _converse(self, socket: WebSocket, client: str, hello: Answer) -> None:
        async def message(text: str) -> Answer:
            try:
                await socket.echo(text)
            except Lost:
                # The message and an orderly goodbye crossed: after its close frame a peer may send nothing (RFC 6455,
                # 5.5.1), so the client's part is to connect again and repeat it, which is what follows.
                if not self._may_end(socket):
                    raise
            return hello

        sent, last = 0, False
        while not last:
            last = not await self._wait(self.options.message_every)
            if self._may_end(socket):
                self.ledger.moved += 1
                return
            sent += 1
            if await self.ledger.account("websocket", client, message(f"{client}-{sent}")) is None:
                return

    def _may_end(self, socket: WebSocket) -> bool:
        """Return whether a WebSocket has ended as it may."""
        cut = bool(socket.ended) and not socket.close_code
        return (self.options.websocket_may_move and socket.moved()) or (self.options.websocket_may_be_cut and cut)

    # parts

    async def _single(self, kind: str, client: str, question: Question) -> Answer | None:
        connection = Connection(self.target)
        answer = await self.ledger.account(kind, client, connection.ask(question), question.method)
        await connection.close()
        return answer

    async def _ask(self, connection: Connection, question: Question) -> Answer:
        answer = await connection.ask(question)
        if question.body and answer.status < self.options.fail_from and answer.body != question.body:
            raise Lost(f"the echo differs: sent {len(question.body)} bytes, got {len(answer.body)}")
        return answer

    def _get(self) -> Question:
        return Question(path=self.options.path, headers=self.headers)

    def _post(self) -> Question:
        kind = ("Content-Type", "application/octet-stream")
        return Question("POST", self.options.post_path, (*self.headers, kind), os.urandom(self.options.body))

    def _pace(self, kind: str, clients: int) -> Callable[[], float]:
        share = PARTS[kind] / sum(PARTS[k] for k in self.options.kinds if k in PARTS)
        mean = clients / (self.options.rate * share)
        return lambda: random.uniform(0.5, 1.5) * mean

    async def _beats(self, pace: Callable[[], float]) -> AsyncIterator[int]:
        """Yield a number at each beat; beats that were missed are not made up for."""
        loop = asyncio.get_running_loop()
        due, number = loop.time() + pace(), 0
        while await self._wait(due - loop.time()):
            yield (number := number + 1)
            due = max(self._next(due, pace()), loop.time())

    def _next(self, due: float, seconds: float) -> float:
        """Return the moment so long after `due`, counting only the time of bursts, which runs that much faster."""
        period, part = self.options.burst
        on = period * part
        bursts, into = divmod(due, period)
        bursts, into = divmod(bursts * on + min(into, on) + seconds * part, on)
        return bursts * period + into

    async def _wait(self, seconds: float) -> bool:
        """Wait; return False at once when the run is to end."""
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self.stopping.wait()
        except TimeoutError:
            return True
        return False


def _store(jar: dict[str, str], answer: Answer) -> None:
    for line in answer.all("Set-Cookie"):
        for name, morsel in SimpleCookie(line).items():
            if morsel["max-age"] == "0":
                jar.pop(name, None)
            else:
                jar[name] = morsel.value

"""The API over a world in memory, served by the real HTTP server on a port of the loopback."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployer.server.application import guarded, make_app
from deployer.server.connection_guard import ConnectionGuard, Network, Room
from deployer.server.guard import EntryRules
from deployer.server.runner import Address, listening
from tests.api import Api
from tests.ports import free_port

SECONDS = 20.0
HOSTS = ("127.0.0.1", "localhost")
Wrap = Callable[[ASGIApp], ASGIApp]


@contextmanager
def served(api: Api, *, port: int = 0, pem: Path | None = None, wrap: Wrap = lambda app: app) -> Iterator[str]:
    """Serve the API in a thread, `wrap` around it; yield its address. At the end its streams end, too."""
    api.desk = replace(api.desk)  # with event streams of its own
    app = wrap(guarded(api.routes(), api.desk, EntryRules(HOSTS, api.limits)))
    with serving(app, port or free_port(), pem) as url:
        yield url
        api.desk.hub.close()


@contextmanager
def behind_a_door(api: Api, room: Room, proxies: tuple[Network, ...] = (), pem: Path | None = None) -> Iterator[str]:
    """Serve the API as `deploy serve` does, in a thread, with the clock of its world at the door; yield its address."""
    door = ConnectionGuard(api.desk.clock, room, proxies)
    app = make_app(api.desk, door, EntryRules(HOSTS), proxies)
    with serving(app, free_port(), pem, door) as url:
        yield url


class _Sweeping(uvicorn.Server):
    door: ConnectionGuard | None = None

    async def on_tick(self, counter: int) -> bool:
        if self.door:
            self.door.sweep()
        return await super().on_tick(counter)


@contextmanager
def serving(app: ASGIApp, port: int, pem: Path | None = None, door: ConnectionGuard | None = None) -> Iterator[str]:
    """Serve an application in a thread; yield its address."""
    config = uvicorn.Config(
        app,
        host="127.0.0.1",
        port=port,
        ssl_certfile=pem,
        ssl_keyfile=pem,
        log_level="critical",
        lifespan="off",
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )
    server = _Sweeping(config)
    server.door = door
    sockets: list[socket.socket] | None = list(listening(Address("127.0.0.1", port), door)) if door else None
    thread = threading.Thread(target=server.run, args=(sockets,), name="server", daemon=True)
    thread.start()
    for _ in range(int(SECONDS * 100)):
        if server.started:
            break
        threading.Event().wait(0.01)
    assert server.started
    try:
        yield f"{'https' if pem else 'http'}://{'localhost' if pem else '127.0.0.1'}:{port}"
    finally:
        server.should_exit = True
        thread.join(SECONDS)
        for each in sockets or ():
            each.close()
        assert not thread.is_alive()


class Asked:
    """Keeps what was asked, with the id after which events were."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.after: list[str] = []

    def __call__(self, app: ASGIApp) -> ASGIApp:
        async def asked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                self.requests.append((scope["method"], scope["path"].removeprefix("/api/v1")))
                if scope["path"].endswith("/events"):
                    self.after.append(dict(scope["headers"]).get(b"last-event-id", b"").decode())
            await app(scope, receive, send)

        return asked


def losing(times: int, method: str = "POST") -> Wrap:
    """Lose the first answers to a method: it is done, and whoever asked hears of a gateway only."""
    left = [times]

    def wrap(app: ASGIApp) -> ASGIApp:
        async def lost(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["method"] != method or not left[0]:
                await app(scope, receive, send)
                return
            left[0] -= 1

            async def nobody(_: Message) -> None:
                return

            await app(scope, receive, nobody)
            await send({"type": "http.response.start", "status": 502, "headers": []})
            await send({"type": "http.response.body", "body": b"<html>bad gateway</html>"})

        return lost

    return wrap


def cutting(events: int, times: int) -> Wrap:
    """Break the first streams off in the middle of what comes after so many events."""
    left = [times]

    def wrap(app: ASGIApp) -> ASGIApp:
        async def cut(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or not scope["path"].endswith("/events") or not left[0]:
                await app(scope, receive, send)
                return

            async def some(message: Message) -> None:
                body = message.get("body", b"")
                parts = body.split(b"\n\n")
                if body.count(b"data: ") > events:
                    left[0] -= 1
                    await send({**message, "body": b"\n\n".join(parts[: events + 1]) + b"\n\nid: 9", "more_body": True})
                    raise ConnectionResetError
                await send(message)

            await app(scope, receive, some)

        return cut

    return wrap

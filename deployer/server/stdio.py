"""`deploy serve --stdio`: one client, on stdin and stdout, who came by ssh and may do all that this account may.

Nothing listens for others: stdin and stdout are carried to a socket in a folder that only this account can enter.
"""

from __future__ import annotations

import os
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployer.app.wiring import open_house
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeployError, Refused
from deployer.manifest.peek import service_of, set_of
from deployer.server.access_log import configured
from deployer.server.application import make_api
from deployer.server.context import ManifestSource, ServerContext, Stores
from deployer.server.guard import VERSION, Caller
from deployer.server.log import ServerLog
from deployer.server.runs import Processes
from deployer.server.tokens import Token, Tokens
from deployer.store.actor import place
from deployer.store.opening import open_store
from deployer.transport.greeting import LONGEST, Greeting, Welcome, read, refusal
from deployer.transport.greeting import welcome as greet
from deployer.transport.line_reader import LineReader

END_SECONDS = 5  # for answers that are in progress when the client is gone
IDLE_SECONDS = 600  # without a request, after which a client is taken for gone: a cable that was pulled says nothing
ACCOUNT = "ssh"  # in place of a token's id: by it the next connection of a client knows what it has begun


class _Trusted(Tokens):
    """Whoever came by ssh stands as long as the connection does."""

    def standing(self, token: Token) -> bool:
        return token.id == ACCOUNT or super().standing(token)


def serve(inward: int, outward: int, state: Path, clock: Clock, environ: Mapping[str, str]) -> None:
    """Greet the client, and answer it until it leaves; `inward` and `outward` are descriptors."""
    try:
        first = _line(inward, Deadline.after(clock, IDLE_SECONDS))
        greeting = Greeting.of(read(first, "the client"))
        desk, welcome = _desk(greeting, state, clock, environ)
    except DeployError as error:
        os.write(outward, refusal(error))
        return
    try:
        os.write(outward, greet(welcome.data()))
        _answer(_let_in(make_api(desk), _caller(greeting, environ)), desk, inward, outward)
    finally:
        desk.stores.close()


def _line(inward: int, deadline: Deadline) -> bytes:
    """Read the first line, and nothing after it: there is nothing before we have answered."""
    try:
        return LineReader(inward, LONGEST).next(deadline)
    except (EOFError, TimeoutError, ValueError):
        text = "no client greets: this is what `deploy --on` calls"
        raise Refused(text, "deploy --on ssh://HOST COMMAND") from None


def _desk(greeting: Greeting, state: Path, clock: Clock, environ: Mapping[str, str]) -> tuple[ServerContext, Welcome]:
    """Make what the routes share, as the client asks for it. Raises Refused."""
    folder = Path(greeting.folder or ".").expanduser()
    try:
        os.chdir(folder)  # as whoever calls a command there: its paths, its strategies
    except OSError as error:
        raise Refused(
            f"the folder {folder} cannot be entered: {error.strerror}", "name another one: ssh://HOST/FOLDER"
        ) from None
    state = Path(greeting.state).expanduser() if greeting.state else state
    state = state.expanduser().absolute()
    stores, log = Stores(lambda: open_store(state, clock)), ServerLog(clock)
    stores.store()
    file = Path(greeting.file).expanduser().absolute()
    here, (name, set_trouble) = file.is_file(), _peeked(set_of, file)
    desk = ServerContext(
        stores=stores,
        housed=lambda store: open_house(state, store=store),
        tokens=_Trusted(state, clock),
        runner=Processes(state, clock, {**environ, "DEPLOYER_HOSTNAME": greeting.host}, log),
        clock=clock,
        environ=environ,
        log=log,
        sources=(ManifestSource(file, greeting.destination),) if here else (),
    )
    service, trouble = (
        _peeked(lambda path: service_of(path, greeting.destination), file) if here and not name else ("", "")
    )
    welcome = Welcome(str(Path.cwd()), str(file) if here else "", service, trouble or set_trouble, name)
    return desk, welcome


def _peeked(name_in: Callable[[Path], str], file: Path) -> tuple[str, str]:
    """Peek at a name in a file; return why it is not known. A broken file must not stop an emergency command."""
    try:
        return name_in(file), ""
    except Refused as error:
        return "", error.message


def _caller(greeting: Greeting, environ: Mapping[str, str]) -> Caller:
    token = Token(ACCOUNT, greeting.by, "admin", (), "", 0.0, greeting.by)
    return Caller(token, f"--on, {place(environ)}", by_shell=True)


def _let_in(app: ASGIApp, caller: Caller) -> ASGIApp:
    """Pass requests on as those of a caller."""

    async def let_in(scope: Scope, receive: Receive, send: Send) -> None:
        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], VERSION]}
            await send(message)

        scope["caller"] = caller
        await app(scope, receive, told)

    return let_in


def _answer(app: ASGIApp, desk: ServerContext, inward: int, outward: int) -> None:
    config = configured(
        app,
        desk.log,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=END_SECONDS,
    )
    server = uvicorn.Server(config)

    def end() -> None:
        desk.hub.close()
        server.should_exit = True

    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as client:
        with tempfile.TemporaryDirectory(prefix="dp") as folder:  # gone before anybody could be killed and leave it
            door.bind(f"{folder}/s")
            door.listen(1)
            client.connect(f"{folder}/s")
        _carry(lambda: os.read(inward, 65536), client.sendall, lambda: client.shutdown(socket.SHUT_WR), end)
        _carry(lambda: client.recv(65536), lambda data: _write(outward, data), lambda: None, end)
        server.run([door])


def _carry(
    read: Callable[[], bytes], write: Callable[[bytes], None], close: Callable[[], None], end: Callable[[], None]
) -> None:
    """Carry bytes, in a thread, until one side is gone."""

    def carry() -> None:
        with suppress(OSError):  # it is gone, too
            while data := read():
                write(data)
            close()
        end()

    threading.Thread(target=carry, daemon=True).start()


def _write(outward: int, data: bytes) -> None:
    while data:
        data = data[os.write(outward, data) :]

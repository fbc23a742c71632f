"""Running the server: the address, TLS, what was left unfinished, and an orderly end."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import resource
import socket
import ssl
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from deployer.core.errors import Refused
from deployer.server.access_log import configured
from deployer.server.agents import Agents
from deployer.server.application import make_app
from deployer.server.connection_guard import IDLE_SECONDS, ConnectionGuard, Listening, Network, Room
from deployer.server.context import ServerContext
from deployer.server.guard import EntryRules
from deployer.server.jobs import JobRunner
from deployer.server.keeper import KeeperLoop
from deployer.server.reconciler import Reconciler
from deployer.server.renewals import Renewals
from deployer.server.token_sharing import TokenSharing

END_SECONDS = 5  # for answers that are in progress when the server ends
MOST_CLIENTS = 4096
OTHER_FILES = 1024  # the store, rollouts, engines, and connections that are let go
BACKLOG = 256  # connections that are taken in at once
HEADER_BYTES = 32 * 1024
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):([0-9]{1,5})")


@dataclass(frozen=True)
class Address:
    """Where the server listens."""

    host: str
    port: int

    @classmethod
    def of(cls, text: str) -> Address:
        """Read HOST:PORT. Raises Refused."""
        match = _ADDRESS.fullmatch(text)
        if match is None or not 0 < int(match[2]) < 65536:
            raise Refused(f"{text[:100]!a} is not an address to listen on", "HOST:PORT, such as 127.0.0.1:8642")
        return cls(match[1].strip("[]"), int(match[2]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local(self) -> bool:
        """Return whether only this host can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the host names under which it may be asked, as the Host header has them."""
        own = f"[{self.host}]" if ":" in self.host else self.host
        anywhere = self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
        return (*(() if anywhere else (own,)), *(("localhost", "127.0.0.1", "[::1]") if self.local else ()))


@dataclass(frozen=True)
class ServerTls:
    """A certificate with its chain and its key, as PEM files."""

    certificate: Path
    key: Path

    def check(self) -> None:
        """Raise Refused when they cannot be used."""
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.certificate, self.key, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            raise Refused(
                f"{self.certificate} and {self.key} cannot be used for TLS: {error}",
                "a certificate and its key without a passphrase, as PEM",
            ) from None


@dataclass(frozen=True)
class Endpoint:
    """Where and how the server is reached: an address, its certificate, and further names by which it may be asked.

    `proxies` are believed whom they pass requests on for.
    """

    address: Address
    tls: ServerTls | None = None
    hosts: tuple[str, ...] = ()
    proxies: Collection[Network] = ()

    @property
    def url(self) -> str:
        """Return the address of the web UI, by a name under which it may be asked and that a certificate may have."""
        scheme = "https" if self.tls else "http"
        named = self.hosts and (self.tls or not self.address.names)
        return f"{scheme}://{Address(self.hosts[0], self.address.port) if named else self.address}/"

    def check(self, *, behind_tls: bool) -> None:
        """Raise Refused for a certificate that cannot be used, for tokens in the clear, and where no name would do."""
        if self.tls:
            self.tls.check()
        elif not self.address.local and not behind_tls:
            raise Refused(
                f"{self.address} can be reached from other hosts, whose clients would send their tokens unencrypted",
                "--cert and --key, or --no-tls where a proxy in front has TLS, or --listen 127.0.0.1:PORT",
            )
        if not self.address.names and not self.hosts:
            raise Refused(
                f"{self.address} is every address of this host, and no name is known by which clients may call it",
                "add --allow-host NAME, as it is in the URL of browsers and clients, or --listen NAME:PORT",
            )


def serve(desk: ServerContext, endpoint: Endpoint, by: str, agents: Agents | None = None) -> None:
    """Serve until a signal comes, after going on with what was unfinished, in the name of `by`.

    Raise Refused when the address cannot be had.
    """
    address, tls, proxies = endpoint.address, endpoint.tls, endpoint.proxies
    door = ConnectionGuard(desk.clock, Room.within(_allow_files()), proxies)
    rules = EntryRules((*address.names, *endpoint.hosts), tls=tls is not None)
    config = configured(
        make_app(desk, door, rules, proxies),
        desk.log,
        host=address.host,
        port=address.port,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
        h11_max_incomplete_event_size=HEADER_BYTES,
        backlog=BACKLOG,
        timeout_keep_alive=int(IDLE_SECONDS),
        timeout_graceful_shutdown=END_SECONDS,
    )
    sockets = listening(address, door)
    try:
        keeper = KeeperLoop(desk.log, desk.opened)
        desk.loops = (Reconciler(desk, by), Renewals(desk), JobRunner(desk), TokenSharing(desk), keeper)
        _Server(config, desk, agents, door, endpoint.url).run(list(sockets))
    except SystemExit:  # how uvicorn says that it could not start; its log has said why
        raise Refused(f"the server at {address.host}:{address.port} could not start", "see the line above") from None
    finally:
        for each in sockets:
            each.close()


def listening(address: Address, door: ConnectionGuard) -> tuple[Listening, ...]:
    """Take the address, in each family that it has. Raises Refused."""
    made: list[Listening] = []
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, where in dict.fromkeys(found):
            made.append(Listening(family, kind, protocol))
            made[-1].door = door
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                made[-1].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            made[-1].bind(where)
    except OSError as error:
        for each in made:
            each.close()
        raise Refused(
            f"{address.host}:{address.port} cannot be listened on: {(error.strerror or str(error)).lower()}",
            "end what listens there (`ss -ltnp`), or choose another --listen HOST:PORT",
        ) from None
    return tuple(made)


def _allow_files() -> int:
    """Let as many connections be open at once as clients may come; return how many the system's hard limit lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CLIENTS + OTHER_FILES
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return max(wanted - OTHER_FILES, wanted // 2)


class _Server(uvicorn.Server):
    """Goes on with what was unfinished when it listens; ends its streams when it is told to end."""

    def __init__(
        self,
        config: uvicorn.Config,
        desk: ServerContext,
        agents: Agents | None,
        door: ConnectionGuard,
        url: str,
    ) -> None:
        super().__init__(config)
        self._desk, self._agents, self._door, self._url = desk, agents, door, url

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        self._desk.hub.close()
        super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Look after the door, ten times a second."""
        self._door.sweep()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: object = None) -> None:
        """End what goes on, and wait for it."""
        ends = [*(loop.stop for loop in self._desk.loops), *((self._agents.stop,) if self._agents else ())]
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))
        await super().shutdown(sockets)  # type: ignore[arg-type]

    async def startup(self, sockets: object = None) -> None:
        """Begin to listen, and say so."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            for loop in self._desk.loops:
                loop.start()
            if self._agents:
                self._agents.start(self._desk)
            api = f"{self._url}api/v1"
            self._desk.log.say(
                "serving", f"serving {self._url} (web UI) and {api}; Ctrl-C ends it", url=api, page=self._url
            )

"""Who is connected: counted from accept to close, also while TLS is negotiated, long before there is a request.

A connection is a stranger until it has shown a token that is valid. Strangers have a bounded part of the room, in all
and from one address, and a time in which their request must be complete. Where the room is full, the oldest one that
has not sent its request makes room for the new one: so the rest stays for those with a token, and half-open
connections push out only each other.
"""

from __future__ import annotations

import ipaddress
import socket
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from deployer.core.clock import Clock

REQUEST_SECONDS = 10.0  # from accept to the end of the headers
IDLE_SECONDS = 15.0  # between an answer and the next request
ANSWER_SECONDS = 20.0  # for what comes between headers and route: the body has a deadline of its own
_IPV6_SITE = 64  # bits of an address that whoever has one of IPv6 may choose the others of

Peer = tuple[str, int]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Room:
    """How many connections may be open: in all, by strangers, and by strangers from one address."""

    most: int = 4096
    strangers: int = 3072
    each: int = 128

    @classmethod
    def within(cls, most: int) -> Room:
        """Return as much room as there is, in the same proportions."""
        return cls(most, max(1, most * 3 // 4), max(1, most // 32))


@dataclass
class Guest:
    """A connection; `due` is when it is closed unless something happens, None while it is being answered."""

    whose: str = ""
    due: float | None = None
    known: bool = False
    door: ConnectionGuard | None = field(default=None, repr=False)

    def shows_token(self) -> None:
        """Count it as one of those with a token from now on."""
        if not self.known and self.door:
            self.door.strangers[self.whose] -= 1
        self.known = True

    def is_answered(self) -> None:
        """Its request is complete: it stays as long as the answer takes."""
        self.due = None


class ConnectionGuard:
    """All connections. Those of `proxies` have no limit of their own: they are those of many clients."""

    def __init__(self, clock: Clock, room: Room, proxies: Collection[Network] = ()) -> None:
        self._clock, self._room, self._proxies = clock, room, tuple(proxies)
        self._guests: dict[Peer, tuple[Guest, socket.socket]] = {}  # the one that came first at the beginning
        self.strangers: Counter[str] = Counter()

    def enter(self, connection: socket.socket, peer: Peer) -> bool:
        """Take a connection in, if need be in place of an older one; False where nobody can make room."""
        whose = neighbours(peer[0])
        crowded = self.strangers[whose] >= self._room.each and not self._is_proxy(peer[0])
        full = self.strangers.total() >= self._room.strangers or len(self._guests) >= self._room.most
        if (crowded or full) and not self._push_out(lambda guest: not crowded or guest.whose == whose):
            return False
        due = self._clock.monotonic() + REQUEST_SECONDS
        self._guests[peer] = (Guest(whose, due, door=self), connection)
        self.strangers[whose] += 1
        return True

    def leave(self, connection: socket.socket, peer: Peer) -> None:
        """Forget a connection that is closed."""
        if peer in self._guests and self._guests[peer][1] is connection:
            guest, _ = self._guests.pop(peer)
            if not guest.known:
                self.strangers[guest.whose] -= 1
            if not self.strangers[guest.whose]:
                del self.strangers[guest.whose]
            guest.door = None

    def guest(self, peer: Peer) -> Guest:
        """Return the connection of this peer, whose headers have come."""
        guest = self._guests[peer][0] if peer in self._guests else Guest()
        guest.due = self._clock.monotonic() + ANSWER_SECONDS
        return guest

    def is_idle(self, guest: Guest) -> None:
        """Wait for the next request of a connection, whose answer has ended."""
        guest.due = self._clock.monotonic() + IDLE_SECONDS + REQUEST_SECONDS

    def sweep(self) -> None:
        """Close every connection that did not send its request in time."""
        now = self._clock.monotonic()
        late = [peer for peer, (guest, _) in self._guests.items() if guest.due is not None and guest.due < now]
        for peer in late:
            self._close(peer)

    def _push_out(self, meant: Callable[[Guest], bool]) -> bool:
        waiting = (peer for peer, (g, _) in self._guests.items() if not g.known and g.due is not None and meant(g))
        peer = next(waiting, None)
        if peer is None:
            return False
        self._close(peer)
        return True

    def _close(self, peer: Peer) -> None:
        _, connection = self._guests[peer]
        self.leave(connection, peer)
        with suppress(OSError):  # the client may have gone this moment
            connection.shutdown(socket.SHUT_RDWR)  # whoever reads it sees its end, and closes it

    def _is_proxy(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._proxies)


class AtDoor:
    """Reports to the door what becomes of the requests of each connection; `scope["guest"]` is the connection."""

    def __init__(self, app: ASGIApp, door: ConnectionGuard) -> None:
        self._app, self._door = app, door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or not scope.get("client"):
            await self._app(scope, receive, send)
            return
        guest = self._door.guest(tuple(scope["client"]))
        scope["guest"] = guest
        try:
            await self._app(scope, receive, send)
        finally:
            self._door.is_idle(guest)


class Listening(socket.socket):
    """A socket whose connections come through a door."""

    door: ConnectionGuard

    def accept(self) -> tuple[socket.socket, tuple[object, ...]]:
        """Return the next connection. Raises ConnectionAbortedError for one that is not let in."""
        connection, address = super().accept()
        made = _GuardedConnection(fileno=connection.detach())
        made.door, made.peer = self.door, (str(address[0]), int(address[1]))
        if not self.door.enter(made, made.peer):
            made.close()
            raise ConnectionAbortedError
        return made, address


class _GuardedConnection(socket.socket):
    door: ConnectionGuard
    peer: Peer

    def close(self) -> None:
        self.door.leave(self, self.peer)
        super().close()


def neighbours(host: str) -> str:
    """Name those who share an address, or who can take each other's: of IPv6 a whole site."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:100]
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _IPV6_SITE), strict=False))
    return str(address)

"""HTTP to a control host: each connection is one ssh, at whose other end `deploy serve --stdio` answers.

No port and no socket is open anywhere, on neither side. Who may use ssh may use it; when ssh ends, so does the command
there, and what it has begun goes on in a process of its own.
"""

from __future__ import annotations

import socket
import threading
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from deployer.client.calls import Broken
from deployer.client.control import BASE, COMMAND, Control
from deployer.core.clock import Clock
from deployer.core.errors import NoServer, Refused, Unreachable
from deployer.transport.greeting import Greeting, Welcome
from deployer.transport.ssh_link import SshLink
from deployer.transport.timeouts import PATIENT


class Channels:
    """The connections of one client. The first is opened at once, and used for the first request."""

    def __init__(self, control: Control, greeting: Greeting, clock: Clock) -> None:
        self._control, self._greeting, self._clock = control, greeting, clock
        self._mutex = threading.Lock()
        self._opened: set[SshLink] = set()
        self._closed = False
        try:
            first = self._opened_now()
            self.welcome = Welcome.of(first.welcome)
        except Unreachable as error:
            text = f"{control.url} cannot be reached: {error.message}"
            raise NoServer(text, error.hint or control.unreached) from None
        except Refused as error:
            self.close()
            raise NoServer(f"{control.url}: {error.message}", error.hint) from None
        self._ready: SshLink | None = first

    def open(self) -> SshLink:
        """Return a connection. Raise Broken: there was one before, and may be again, whatever is in the way now."""
        with self._mutex:
            ready, self._ready = self._ready, None
        if ready is not None:
            return ready
        try:
            return self._opened_now()
        except (Unreachable, Refused) as error:
            raise Broken(error.message, sent=False) from None

    def _opened_now(self) -> SshLink:
        made = SshLink(self._control.there, COMMAND, self._greeting.data(), self._clock, PATIENT)
        with self._mutex:
            self._opened.add(made)
            closed = self._closed
        if closed:
            self.end(made)
            raise Broken("the client ends", sent=False, again=False)
        return made

    def end(self, channel: SshLink) -> None:
        """Close a channel, once."""
        with self._mutex:
            mine = channel in self._opened
            self._opened.discard(channel)
        if mine:
            channel.close()

    def close(self) -> None:
        """Close all of them; none is opened any more."""
        with self._mutex:
            self._closed = True
            opened = list(self._opened)
        for channel in opened:
            self.end(channel)


def session_over(channels: Channels) -> requests.Session:
    """Make a session whose connections are channels."""
    session = requests.Session()
    session.trust_env = False  # neither a proxy nor ~/.netrc is for it
    session.mount(BASE, _Adapter(channels))
    return session


class _Adapter(HTTPAdapter):
    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        super().__init__()

    def init_poolmanager(self, *args: Any, **more: Any) -> None:
        super().init_poolmanager(*args, **more)
        channels = self._channels

        class LinkConnection(_Connection):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                self.channels = channels

        class LinkPool(urllib3.HTTPConnectionPool):
            ConnectionCls = LinkConnection

        self.poolmanager.pool_classes_by_scheme = {"http": LinkPool}


class _Connection(urllib3.connection.HTTPConnection):
    """A connection whose socket is a channel."""

    channels: Channels
    channel: SshLink | None = None
    answering = False

    def _new_conn(self) -> socket.socket:
        self.channel = self.channels.open()
        self.channel.socket.settimeout(self.timeout if isinstance(self.timeout, int | float) else None)
        return self.channel.socket

    def getresponse(self) -> Any:
        self.answering = True
        try:
            return super().getresponse()
        except ConnectionError:
            raise Broken(self.channel.lost() if self.channel else "the connection broke", sent=True) from None
        finally:
            self.answering = False

    def close(self) -> None:
        super().close()
        if self.channel is not None and not self.answering:  # else what is still to be read would be lost
            channel, self.channel = self.channel, None
            self.channels.end(channel)

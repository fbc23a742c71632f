"""The calls of the driver of a proxy on another machine, and the channel that they take."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused, Unreachable
from deployer.core.host import Host
from deployer.drivers.ports import READ_SECONDS
from deployer.drivers.traffic.proxies import protocol
from deployer.drivers.traffic.proxies.channel import ProxyChannel
from deployer.manifest.models import HAProxy

MORE = 5.0  # seconds that an answer may take beyond the deadline of what is done there


class RemoteCalls:
    """The channel opens with the first call, and again when it was lost."""

    def __init__(self, host: Host, proxy: HAProxy, clock: Clock, control: str = "") -> None:
        self.host = host
        self._proxy, self._clock, self._control = proxy, clock, control
        self._opening = threading.Lock()
        self._channel: ProxyChannel | None = None
        self._closed = False

    def close(self) -> None:
        """End the channel."""
        with self._opening:
            self._closed = True
            if self._channel is not None:
                self._channel.close()

    def call(self, name: str, deadline: Deadline | None = None, **arguments: Any) -> Any:
        """Have the driver there do something, and return what it returns."""
        seconds = deadline.left() if deadline else READ_SECONDS
        told = {"arguments": protocol.encoded(name, arguments), "seconds": seconds}
        with self.named():
            answer = self.open().call(name, seconds + MORE, **told)
        if "error" in answer:
            raise protocol.raised(answer["error"], self.host.name)
        return protocol.result(name, answer.get("ok"))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Say of what the channel raises on which machine it was."""
        try:
            yield
        except (Unreachable, Refused) as error:
            hint = error.hint or f"`deploy hosts check --limit {self.host.name}` says why"
            raise type(error)(f"{self.host.name}: {error.message}", hint) from None

    def open(self) -> ProxyChannel:
        """Give the channel, after opening it where it is not open."""
        with self._opening:
            if self._closed:
                raise Unreachable("the channel is closed")
            if self._channel is None or self._channel.lost:
                if self._channel is not None:
                    self._channel.close()
                self._channel = None
                self._channel = ProxyChannel(self.host, self._proxy, self._clock, self._control)
            return self._channel

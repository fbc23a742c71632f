"""The calls of the driver of a proxy on another host, and the channel that they take."""

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
from deployer.transport.reachability import LastHeard
from deployer.transport.timeouts import QUICK

MORE = 5.0  # seconds that an answer, or the way to it, may take beyond the deadline of what is done there


class RemoteCalls:
    """The channel opens with the first call, and again when it was lost: as fast as the deadline of the call wants.

    A host that was just found silent is not waited for again: it is tried in the background.
    """

    def __init__(self, host: Host, proxy: HAProxy, clock: Clock, control: str = "") -> None:
        self.host = host
        self._proxy, self._clock, self._control = proxy, clock, control
        self._silence = LastHeard[Unreachable | Refused](host.name, clock)  # why there is no channel
        self._opening = threading.Lock()
        self._channel: ProxyChannel | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """End the channel; one that is just being opened ends with that."""
        self._closed.set()
        if self._channel is not None:
            self._channel.close()

    def call(self, name: str, deadline: Deadline | None = None, **arguments: Any) -> Any:
        """Have the driver there do something, and return what it returns."""
        deadline = deadline or Deadline.after(self._clock, READ_SECONDS)
        told = {"arguments": protocol.encoded(name, arguments)}
        with self.named():
            channel = self.open(deadline)
            answer = channel.call(name, deadline.left() + MORE, seconds=deadline.left(), **told)
        if "error" in answer:
            raise protocol.raised(answer["error"], self.host.name)
        return protocol.result(name, answer.get("ok"))

    @contextmanager
    def named(self) -> Iterator[None]:
        """Add to what the channel raises on which host it was."""
        try:
            yield
        except (Unreachable, Refused) as error:
            hint = error.hint or f"`deploy hosts check --limit {self.host.name}` says why"
            raise type(error)(f"{self.host.name}: {error.message}", hint) from None

    def open(self, deadline: Deadline) -> ProxyChannel:
        """Return the channel, after opening it where it is not open. Raise Unreachable or Refused."""
        channel = self._channel
        if channel is None or channel.lost:
            why = self._silence.known(self._try) or self._silence.ask(lambda: self._opened(deadline.left() + MORE))
            if why is not None:
                raise type(why)(why.message, why.hint)
            channel = self._channel
        if channel is None or self._closed.is_set():
            raise Unreachable("the channel is closed")
        return channel

    def _try(self) -> Unreachable | Refused | None:
        return self._opened(QUICK.greet)

    def _opened(self, seconds: float) -> Unreachable | Refused | None:
        """Open the channel where it is not open; return why that is not possible in so many seconds."""
        deadline = Deadline.after(self._clock, seconds)
        if not self._opening.acquire(timeout=deadline.left()):
            return Unreachable(f"no channel to it was opened within {seconds:.3g} s")
        try:
            self._renew(deadline)
        except (Unreachable, Refused) as error:
            return error
        finally:
            self._opening.release()
        return None

    def _renew(self, deadline: Deadline) -> None:
        if self._closed.is_set() or (self._channel is not None and not self._channel.lost):
            return
        if self._channel is not None:
            self._channel.close()
        self._channel = None
        self._channel = ProxyChannel(self.host, self._proxy, self._clock, self._control, QUICK.by(deadline.left()))
        if self._closed.is_set():  # meanwhile
            self._channel.close()

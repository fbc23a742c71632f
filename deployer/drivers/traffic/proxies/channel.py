"""The way to a proxy on another host: one ssh, at whose other end `deploy proxy --stdio` answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any

from deployer.core.clock import Clock
from deployer.core.errors import Refused, Unreachable
from deployer.core.host import Host
from deployer.drivers.traffic.proxies import protocol
from deployer.manifest.models import HAProxy
from deployer.transport import ssh
from deployer.transport.greeting import same_version
from deployer.transport.ssh_link import SshLink
from deployer.transport.ssh_process import FarCommand
from deployer.transport.timeouts import QUICK, HostTimeouts

COMMAND = FarCommand(
    "deploy proxy --stdio",
    "`deploy hosts setup` brings it where `deployer_package` says what it is (docs/machines.md)",
)
SIGN_EVERY = 15.0  # seconds between two signs of life
SKEW = 2.0  # seconds; the proxy ends a lease by its own clock

Told = Callable[[Mapping[str, Any]], None]


class ProxyChannel:
    """One ssh with the driver of a proxy at its other end; any number of calls at a time.

    Raises Unreachable when there is no way, and Refused when the driver there does not respond this one.
    """

    def __init__(
        self, host: Host, proxy: HAProxy, clock: Clock, control: str = "", within: HostTimeouts = QUICK
    ) -> None:
        self._mutex = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: dict[int, Told] = {}
        self._number = 0
        self._lost = ""
        self._ended = threading.Event()
        wanted = {"proxy": protocol.PROXY.dump_python(proxy, mode="json")}
        self._link = SshLink(host, COMMAND, wanted, clock, within, ssh.shared(control))
        try:
            same_version(self._link.welcome)
            _refuse_skew(float(self._link.welcome.get("now", 0)) - clock.now())
        except BaseException:
            self._link.close()
            raise
        self._link.lines.longest = protocol.LONGEST
        for work in (self._listen, self._sign):
            threading.Thread(target=work, name=f"proxy {host.name}", daemon=True).start()

    @property
    def lost(self) -> str:
        """Return why there is no answer any more; "" while there is one."""
        return self._lost

    def ask(self, name: str, told: Told, /, **more: Any) -> int:
        """Send something; `told` is called with each answer to it, the last of which may be that there is none."""
        with self._mutex:
            if self._lost:
                raise Unreachable(self._lost)
            self._number += 1
            number = self._number
            self._waiting[number] = told
        self._send({"id": number, "call": name, **more})
        return number

    def forget(self, number: int) -> None:
        """Take no more responses to what was asked."""
        with self._mutex:
            self._waiting.pop(number, None)

    def call(self, name: str, within: float, /, **more: Any) -> Mapping[str, Any]:
        """Send something and wait for the one answer to it."""
        answers: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        number = self.ask(name, answers.put, **more)
        try:
            answer = answers.get(timeout=within)
        except Empty:
            self._lose(f"no response to `{name}` within {within:.0f} s")
            raise Unreachable(self._lost) from None
        finally:
            self.forget(number)
        if "lost" in answer:
            raise Unreachable(str(answer["lost"]))
        return answer

    def close(self) -> None:
        """End ssh, and with it the command there."""
        self._lose("the channel is closed")
        self._link.close()

    # -- while it goes on

    def _send(self, data: Mapping[str, Any]) -> None:
        with self._sending, suppress(OSError):  # whoever reads finds out, and tells those who wait
            self._link.socket.sendall(protocol.line(data))

    def _sign(self) -> None:
        """Send a sign of life now and then."""
        while not self._ended.wait(SIGN_EVERY):
            self._send({"id": 0, "call": "sign"})

    def _listen(self) -> None:
        with suppress(EOFError, ValueError):
            while True:
                self._pass_on(protocol.read(self._link.lines.next(None)))
        self._lose(self._lost or self._link.lost())

    def _pass_on(self, answer: Mapping[str, Any]) -> None:
        with self._mutex:
            told = self._waiting.get(int(answer.get("id", 0)))
        if told is not None:
            told(answer)

    def _lose(self, why: str) -> None:
        """Inform everybody who waits that there will be no answer."""
        with self._mutex:
            self._lost = self._lost or why
            waiting, self._waiting = list(self._waiting.values()), {}
        self._ended.set()
        with suppress(OSError):
            self._link.socket.shutdown(socket.SHUT_RDWR)
        for told in waiting:
            told({"lost": self._lost})


def _refuse_skew(ahead: float) -> None:
    if abs(ahead) > SKEW:
        raise Refused(
            f"its clock differs by {ahead:+.0f} s from this host's: leases would end too early or too late",
            "synchronize both clocks (NTP)",
        )

"""The way to a proxy on another machine: one ssh, at whose other end `deploy proxy --stdio` answers."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import IO, Any

from deployer import __version__
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused, Unreachable
from deployer.core.host import Host
from deployer.drivers.traffic.proxies import protocol
from deployer.manifest.models import HAProxy

COMMAND = "deploy proxy --stdio"  # what is called there: no word of it is anybody's
GREET_SECONDS = 20.0  # for ssh to get through, and the command there to start on a busy machine
SIGN_EVERY = 15.0  # seconds between two signs of life
SKEW = 2.0  # seconds; the proxy ends a lease by its own clock
END_SECONDS = 2.0  # for an ssh that was told to end
_NOT_FOUND = 127  # what a shell says of a command that there is not
_OPTIONS = (
    *("-T", "-x", "-o", "ConnectTimeout=5"),
    *("-o", "ServerAliveInterval=2", "-o", "ServerAliveCountMax=3"),  # a cable that was pulled ends it within 8 s
)
KEPT_SECONDS = 600  # that a connection outlives the last who used it: an emergency has none to make then


def way(host: Host, control: str) -> list[str]:
    """Give the command that leads to a shell of a machine; what that is to do is its last word.

    `control` is the socket by which a connection is shared, and kept for the next; "" where there can be none.
    """
    if not control:
        return host.ssh(*_OPTIONS, "-o", "ControlMaster=no", "-o", "ControlPath=none")
    shared = ("ControlMaster=auto", f"ControlPath={control}", f"ControlPersist={KEPT_SECONDS}")
    return host.ssh(*_OPTIONS, *(part for option in shared for part in ("-o", option)))


Told = Callable[[Mapping[str, Any]], None]


class ProxyChannel:
    """One ssh with the driver of a proxy at its other end; any number of calls at a time.

    Raises Unreachable when there is no way, and Refused when the driver there does not respond this one.
    """

    def __init__(self, host: Host, proxy: HAProxy, clock: Clock, control: str = "") -> None:
        self._host, self._clock, self._control = host, clock, control
        self._mutex = threading.Lock()
        self._sending = threading.Lock()
        self._waiting: dict[int, Told] = {}
        self._number = 0
        self._lost = ""
        self._ended = threading.Event()
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the channel
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._process = self._start(theirs)
        try:
            rest = self._greet(proxy)
        except BaseException:
            self.close()
            raise
        for work, given in ((self._listen, (rest,)), (self._sign, ())):
            threading.Thread(target=work, args=given, name=f"proxy {host.name}", daemon=True).start()

    @property
    def lost(self) -> str:
        """Say why there is no answer any more; "" while there is one."""
        return self._lost

    def ask(self, name: str, told: Told, /, **more: Any) -> int:
        """Say something; `told` is called with each answer to it, the last of which may be that there is none."""
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
        """Say something and wait for the one answer to it."""
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
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what ssh had started, for a jump
            self._process.wait()
        self._socket.close()
        self._said.close()

    # -- how it begins

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(
                [*way(self._host, self._control), COMMAND],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=self._said,
                start_new_session=True,  # a Ctrl-C is ours to answer: the way back needs the proxies
            )
        except OSError as error:
            self._socket.close()
            self._said.close()
            raise Unreachable(f"ssh cannot be started: {error.strerror}", "install an OpenSSH client") from None

    def _greet(self, proxy: HAProxy) -> bytes:
        """Say what is wanted, and see that the clock there goes as ours does; give what came after the answer."""
        deadline = Deadline.after(self._clock, GREET_SECONDS)
        wanted = {
            "protocol": protocol.PROTOCOL,
            "version": __version__,
            "proxy": protocol.PROXY.dump_python(proxy, mode="json"),
        }
        with suppress(OSError):  # why it has left is what it printed
            self._socket.sendall(protocol.line(wanted))
        answer, rest = self._first(deadline)
        now = self._clock.now()
        if "refused" in answer:
            raise Refused(str(answer["refused"]), str(answer.get("hint", "")))
        if (answer.get("protocol"), answer.get("version")) != (protocol.PROTOCOL, __version__):
            theirs = str(answer.get("version"))[:20]
            raise Refused(f"deployer is {theirs} there, and {__version__} here", "use the same version on both sides")
        ahead = float(answer.get("now", now)) - now
        if abs(ahead) > SKEW:
            raise Refused(
                f"its clock is {ahead:+.0f} s off from this host's: leases would end too early or too late",
                "let both be kept right (NTP)",
            )
        self._socket.settimeout(None)
        return rest

    def _first(self, deadline: Deadline) -> tuple[dict[str, Any], bytes]:
        """Read up to the line that is meant; what a login shell prints before it is left out."""
        read = b""
        while True:
            *lines, rest = read.split(b"\n")
            for place, line in enumerate(lines):
                if line.startswith(protocol.MARK):
                    return protocol.read(line.removeprefix(protocol.MARK)), b"\n".join((*lines[place + 1 :], rest))
            if len(read) > protocol.LONGEST:
                raise Unreachable("what is called there prints something else", "see what a login there prints")
            try:
                self._socket.settimeout(max(deadline.left(), 0.001))
                more = self._socket.recv(1 << 16)
            except TimeoutError:
                raise Unreachable(f"no response within {GREET_SECONDS:g} s") from None
            except OSError:
                more = b""
            if not more:
                raise self._failed()
            read += more

    def _failed(self) -> Exception:
        """Say why there was no greeting."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        said, code = self._words(), self._process.poll()
        if code == _NOT_FOUND:
            return Refused(
                f"there is no `deploy` there: {said}",
                "deploy hosts setup brings it where `deployer_package` says what it is; see docs/machines.md",
            )
        if "No such command" in said:
            return Refused(f"deployer is too old there: {said}", "use the same version on both sides")
        return Unreachable(said or f"ssh ended with {code}")

    def _words(self) -> str:
        """Give the last line that ssh, or the command there, wrote on stderr."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - 4096, 0))
        text = self._said.read().decode(errors="replace")
        lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
        return next((line.removeprefix("error: ") for line in reversed(lines) if line), "")

    # -- while it goes on

    def _send(self, data: Mapping[str, Any]) -> None:
        with self._sending, suppress(OSError):  # whoever reads finds out, and tells those who wait
            self._socket.sendall(protocol.line(data))

    def _sign(self) -> None:
        """Say now and then that we are here."""
        while not self._ended.wait(SIGN_EVERY):
            self._send({"id": 0, "call": "sign"})

    def _listen(self, rest: bytes) -> None:
        try:
            while True:
                *lines, rest = rest.split(b"\n")
                for line in lines:
                    self._pass_on(protocol.read(line))
                more = self._socket.recv(1 << 18)
                if not more or len(rest) > protocol.LONGEST:
                    break
                rest += more
        except (OSError, ValueError):
            pass
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        self._lose(self._lost or self._why())

    def _why(self) -> str:
        with suppress(ValueError):  # closed meanwhile
            if said := self._words():
                return f"the connection broke: {said}"
        return "the connection broke"

    def _pass_on(self, answer: Mapping[str, Any]) -> None:
        with self._mutex:
            told = self._waiting.get(int(answer.get("id", 0)))
        if told is not None:
            told(answer)

    def _lose(self, why: str) -> None:
        """Tell everybody who waits that there will be no answer."""
        with self._mutex:
            self._lost = self._lost or why
            waiting, self._waiting = list(self._waiting.values()), {}
        self._ended.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        for told in waiting:
            told({"lost": self._lost})

"""HTTP to a control host: each connection is one ssh, at whose other end `deploy serve --stdio` answers.

No port and no socket is open anywhere, on neither side. Who may use ssh may use it; when ssh ends, so does the command
there, and what it has begun goes on in a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import suppress
from typing import IO, Any

import requests
import urllib3
from requests.adapters import HTTPAdapter

from deployer.client.calls import Broken
from deployer.client.control import BASE, COMMAND, Control
from deployer.core.clock import Clock, Deadline
from deployer.core.errors import NoServer, Refused
from deployer.transport.greeting import LONGEST, MARK, Greeting, Welcome

GREET_SECONDS = 30.0  # for ssh to get through, and the command there to start on a busy machine
END_SECONDS = 2.0  # for an ssh that was told to end
SSH_FAILED = 255  # ssh itself failed
NOT_FOUND = 127  # what a shell says of a command that there is not
_LINES = 3  # of what was said last


class SshChannel:
    """One ssh with the command at its other end; `socket` is a connection to that."""

    def __init__(self, control: Control, greeting: Greeting, clock: Clock) -> None:
        self._control, self._clock = control, clock
        self._said: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the channel
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = subprocess.Popen(
                    control.ssh(COMMAND),
                    stdin=theirs.fileno(),
                    stdout=theirs.fileno(),
                    stderr=self._said,
                    start_new_session=True,  # a Ctrl-C is ours to answer: what to do is said through it
                )
        except OSError as error:
            self.socket.close()
            self._said.close()
            why = error.strerror or str(error)
            raise NoServer(f"ssh cannot be started: {why}", "is an OpenSSH client installed, and on PATH?") from None
        try:
            self.welcome = self._greet(greeting)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End ssh, and with it the command there."""
        self.socket.close()
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what ssh had started, for a jump
            self._process.wait()
        self._said.close()

    def lost(self) -> str:
        """Say why there is no connection any more."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        words = self._words()
        return f"the connection broke: {words[-1]}" if words else "the connection broke"

    def _greet(self, greeting: Greeting) -> Welcome:
        """Say who we are; give what is said there. Raises NoServer, and Broken for what another try may mend."""
        deadline = Deadline.after(self._clock, GREET_SECONDS)
        with suppress(OSError):  # why it has left is what it printed
            self.socket.sendall(greeting.line())
        line = self._line(deadline)
        url = self._control.url
        try:
            welcome = Welcome.read(line)
        except Refused as error:
            raise NoServer(f"{url}: {error.message}", error.hint) from None
        if welcome.refused:
            raise NoServer(f"{url}: {welcome.refused}", welcome.hint)
        self.socket.settimeout(None)
        return welcome

    def _line(self, deadline: Deadline) -> bytes:
        """Read up to the line that is meant; what a login shell prints before it is left out."""
        read = b""
        while True:
            lines = read.split(b"\n")
            found = next((line for line in lines[:-1] if line.startswith(MARK.encode())), None)
            if found is not None:
                return found
            if len(read) > LONGEST:
                raise NoServer(
                    f"{self._control.url}: what is called there prints something else: {read[:60]!a}",
                    f"see what `{self._control.by_hand('true')}` prints: it should be nothing",
                )
            try:
                self.socket.settimeout(max(deadline.left(), 0.001))
                more = self.socket.recv(65536)
            except TimeoutError:
                raise Broken(f"no response within {GREET_SECONDS:g} s", sent=False) from None
            except OSError:
                more = b""
            if not more:
                raise self._failed()
            read += more

    def _failed(self) -> Exception:
        """Say why there was no greeting."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_SECONDS)
        code, words, control = self._process.poll(), self._words(), self._control
        said = " / ".join(words) or f"it ended with {code}"
        if code is None or code < 0:
            return Broken(f"ssh was ended by signal {-code}" if code else "ssh does not end", sent=False)
        if code == SSH_FAILED:
            return self._no_way(said)
        if code == NOT_FOUND:
            return NoServer(
                f"{control.url}: there is no `deploy` there: {said}",
                "pip install 'twin-deployer[server]' there, where what ssh calls is looked for, such as /usr/local/bin:"
                f" `{control.by_hand('command -v deploy')}` must find it",
            )
        if "--stdio" in said:
            return NoServer(f"{control.url}: deployer is too old there: {said}", "use the same version on both sides")
        try_it = f"try `{control.by_hand('deploy doctor')}`"
        return NoServer(f"{control.url}: `{COMMAND}` ended with {code}: {said}", try_it)

    def _no_way(self, said: str) -> Exception:
        url = self._control.url
        if "Host key verification failed" in said or "REMOTE HOST IDENTIFICATION HAS CHANGED" in said:
            return NoServer(
                f"{url}: ssh does not know the key of this host, or it is another one than before",
                f"compare the fingerprint that `{self._control.by_hand('true')}` shows with the one on its console",
            )
        if "Permission denied" in said:
            return NoServer(
                f"{url}: ssh is not let in: {said}",
                f"a key that needs no typing, in the agent or by --ssh-args: `{self._control.by_hand('true')}`",
            )
        return Broken(f"ssh: {said}", sent=False)

    def _words(self) -> list[str]:
        """Give the last lines that ssh, or the command there, wrote on stderr."""
        size = self._said.seek(0, os.SEEK_END)
        self._said.seek(max(size - 4096, 0))
        text = self._said.read().decode(errors="replace")
        lines = ["".join(c if c.isprintable() else " " for c in line).strip() for line in text.splitlines()]
        return [line.removeprefix("error: ") for line in lines if line][-_LINES:]


class Channels:
    """The channels of one client. The first is opened at once, and used for the first request."""

    def __init__(self, control: Control, greeting: Greeting, clock: Clock) -> None:
        self._control, self._greeting, self._clock = control, greeting, clock
        self._mutex = threading.Lock()
        self._opened: set[SshChannel] = set()
        self._closed = False
        self._ready: SshChannel | None = None
        try:
            self._ready = self._opened_now()
        except Broken as broken:
            raise NoServer(f"{control.url} cannot be reached: {broken.why}", control.unreached) from None
        self.welcome = self._ready.welcome

    def open(self) -> SshChannel:
        """Give a channel. Raises Broken: there was one before, and may be again, whatever is in the way now."""
        with self._mutex:
            ready, self._ready = self._ready, None
        if ready is not None:
            return ready
        try:
            return self._opened_now()
        except NoServer as error:
            raise Broken(error.message.removeprefix(f"{self._control.url}: "), sent=False) from None

    def _opened_now(self) -> SshChannel:
        made = SshChannel(self._control, self._greeting, self._clock)
        with self._mutex:
            self._opened.add(made)
            closed = self._closed
        if closed:
            self.end(made)
            raise Broken("the client ends", sent=False, again=False)
        return made

    def end(self, channel: SshChannel) -> None:
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

        class Connection(_Connection):
            def __init__(self, *given: Any, **named: Any) -> None:
                super().__init__(*given, **named)
                self.channels = channels

        class Pool(urllib3.HTTPConnectionPool):
            ConnectionCls = Connection

        self.poolmanager.pool_classes_by_scheme = {"http": Pool}


class _Connection(urllib3.connection.HTTPConnection):
    """A connection whose socket is a channel."""

    channels: Channels
    channel: SshChannel | None = None
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

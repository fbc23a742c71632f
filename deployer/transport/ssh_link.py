"""A connection to a deployer on another host: one ssh, at whose other end a command was greeted and has answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Unreachable
from deployer.core.host import Host
from deployer.transport import greeting, ssh
from deployer.transport.line_reader import LineReader
from deployer.transport.ssh_process import FarCommand, SshProcess
from deployer.transport.timeouts import QUICK, HostTimeouts


class SshLink:
    """`socket` leads to the command, `welcome` is what it said first; `lines` reads what it says from then on.

    Raise Unreachable where there is no way to it, and Refused where the command there is not as it should be.
    """

    def __init__(
        self,
        host: Host,
        command: FarCommand,
        hello: Mapping[str, Any],
        clock: Clock,
        within: HostTimeouts = QUICK,
        options: Sequence[str] = ssh.ALONE,
    ) -> None:
        self._process = SshProcess(host, [*ssh.line(host, within, *options), command.words])
        self.socket = self._process.socket
        self.lines = LineReader(self.socket, greeting.LONGEST)
        try:
            with suppress(OSError):  # why it has left is what it printed
                self.socket.sendall(greeting.hello(hello))
            self.welcome = self._answer(host, command, Deadline.after(clock, within.greet))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End ssh, and with it the command there."""
        self._process.close()

    def lost(self) -> str:
        """Return why there is no connection any more."""
        return self._process.lost()

    def _answer(self, host: Host, command: FarCommand, deadline: Deadline) -> dict[str, Any]:
        """Read up to the line that is meant; what a login shell prints before it is left out."""
        try:
            while not (line := self.lines.next(deadline)).startswith(greeting.MARK):
                pass
        except TimeoutError:
            raise Unreachable(f"no response within {deadline.seconds:.3g} s") from None
        except EOFError:
            raise self._process.failure(command) from None
        except ValueError as error:
            raise Unreachable(
                f"what is called there prints something else: {error}",
                f"see what `{ssh.by_hand(host, 'true')}` prints: it should be nothing",
            ) from None
        return greeting.read(line, "it")

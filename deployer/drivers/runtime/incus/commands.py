"""Commands inside a container, bounded in time and output: over the websockets of Incus, so that they can be ended."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from deployer.core.background import BackgroundThread
from deployer.core.clock import Deadline
from deployer.core.errors import DriverFailed, Refused, StepFailed
from deployer.core.extras import how_to_add
from deployer.drivers.runtime.incus.api import Incus, at

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

MOST = 64 * 1024  # bytes of output that are kept
LOOK = 0.1  # seconds after which a reader looks whether it is to end
KILL = json.dumps({"command": "signal", "signal": 9})
STREAMS = ("1", "2")  # stdout and stderr


def run(incus: Incus, name: str, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
    """Run a command as root; return its exit code and what it printed, the last 64 KiB of it.

    Raise DeadlinePassed after it was killed.
    """
    try:
        from websockets.exceptions import WebSocketException
    except ImportError:
        raise Refused("commands in containers of Incus need websockets", how_to_add("incus")) from None
    what = f"`{' '.join(command)}` in {name}"
    body = {"command": list(command), "interactive": False, "record-output": False, "wait-for-websocket": True}
    operation, begun = incus.begin(what, "POST", at("instances", name, "exec"), body, deadline)
    with ExitStack() as opened:
        sockets = {
            key: opened.enter_context(_socket(incus, operation, secret, deadline))
            for key, secret in begun["metadata"]["fds"].items()
        }
        sockets["0"].close()  # nothing is written to it
        output = _Printed(len(STREAMS))
        for key in STREAMS:
            opened.enter_context(BackgroundThread(f"output of {name}", output.reader(sockets[key]), patience=10 * LOOK))
        try:
            deadline.until(output.ended, what)
            result = incus.ended(what, operation, deadline)
        except StepFailed:  # no time is left, or Incus does not answer
            with suppress(OSError, WebSocketException):  # then the first error is the one to tell
                sockets["control"].send(KILL)
            raise
    return int(result["return"]), output.text()


class _Printed:
    """The last bytes of what a command prints, on either of its streams."""

    def __init__(self, streams: int) -> None:
        self._kept, self._left, self._mutex = bytearray(), streams, threading.Lock()

    def reader(self, stream: ClientConnection) -> Callable[[threading.Event], None]:
        """Return what reads a stream to its end."""
        from websockets.exceptions import ConnectionClosed

        def work(over: threading.Event) -> None:
            try:
                while not over.is_set():
                    with suppress(TimeoutError):
                        if self._add(stream.recv(LOOK)):
                            break
            except ConnectionClosed:
                pass
            finally:
                with self._mutex:
                    self._left -= 1

        return work

    def ended(self) -> bool:
        """Return whether both streams have come to their ends."""
        with self._mutex:
            return not self._left

    def text(self) -> str:
        """Return what was kept."""
        return self._kept.decode("utf-8", "replace")

    def _add(self, data: str | bytes) -> bool:
        """Keep a piece; return whether it was the mark of the end, an empty text."""
        if isinstance(data, str):
            return not data
        with self._mutex:
            self._kept += data
            del self._kept[:-MOST]
        return False


def _socket(incus: Incus, operation: str, secret: str, deadline: Deadline) -> ClientConnection:
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import unix_connect

    try:
        return unix_connect(
            incus.path,
            f"ws://incus{operation}/websocket?secret={secret}",
            open_timeout=max(0.1, deadline.left()),
            close_timeout=LOOK,
            max_size=None,
            compression=None,
        )
    except (OSError, WebSocketException) as error:
        said = getattr(error, "strerror", None) or error
        raise DriverFailed(f"{incus.path}: {said}", "see the log of Incus") from error

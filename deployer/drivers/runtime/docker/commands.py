"""Commands inside a container, bounded in time."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline

if TYPE_CHECKING:
    import docker
    from docker.types.daemon import CancellableStream

MOST = 64 * 1024  # bytes of output that are kept


def run(client: docker.DockerClient, container: str, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
    """Run a command; give its exit code and what it printed, the last 64 KiB of it.

    Raises DeadlinePassed. An engine has no way to end a command: one that was given up goes on in its container.
    """
    what = " ".join(command)
    identity = client.api.exec_create(container, list(command))["Id"]
    stream = client.api.exec_start(identity, stream=True)
    output = b""
    with _cancelled(stream, deadline):
        for chunk in stream:
            output = (output + chunk)[-MOST:]
            deadline.check(what)
    deadline.until(lambda: not client.api.exec_inspect(identity)["Running"], what)
    return int(client.api.exec_inspect(identity)["ExitCode"]), output.decode("utf-8", "replace")


@contextmanager
def _cancelled(stream: CancellableStream[bytes], deadline: Deadline) -> Iterator[None]:
    """Cut the stream at the deadline: the SDK waits for output without any time-out."""
    timer = threading.Timer(deadline.left(), cut, (stream,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def cut(stream: CancellableStream[bytes]) -> None:
    """End a stream that somebody reads."""
    with suppress(OSError):  # the engine has cut it already
        stream.close()

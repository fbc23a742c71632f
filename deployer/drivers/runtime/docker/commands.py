"""Commands inside a container, bounded in time."""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline

if TYPE_CHECKING:
    import docker
    import requests
    from docker.types.daemon import CancellableStream

MOST = 64 * 1024  # bytes of output that are kept
FRAME = struct.Struct(">BxxxL")  # before each piece: of which stream it is, and its length


def run(client: docker.DockerClient, container: str, command: Sequence[str], deadline: Deadline) -> tuple[int, str]:
    """Run a command; return its exit code and what it printed, the last 64 KiB of it.

    Raises DeadlinePassed. An engine has no way to end a command: one that was given up goes on in its container.
    """
    what = " ".join(command)
    identity = client.api.exec_create(container, list(command))["Id"]
    stream = _started(client, identity)
    output = b""
    with _cancelled(stream, deadline, what):
        for chunk in stream:
            output = (output + chunk)[-MOST:]
            deadline.check(what)
    deadline.until(lambda: not client.api.exec_inspect(identity)["Running"], what)
    return int(client.api.exec_inspect(identity)["ExitCode"]), output.decode("utf-8", "replace")


def _started(client: docker.DockerClient, identity: str) -> CancellableStream[bytes]:
    """Start a command that was created; return its output in pieces, as it comes.

    Not by `exec_start` of the SDK: it reads from the socket below the buffer that the headers were read into. Output
    that the engine had sent along with the headers, all of that of a short command, was lost.
    """
    from docker.errors import create_api_error_from_http_exception
    from docker.types.daemon import CancellableStream
    from requests import HTTPError

    api = client.api
    url = f"{api.base_url}/v{api.api_version}/exec/{identity}/start"
    # A command may be silent for long: its deadline cuts the stream.
    response = api.post(url, json={"Detach": False, "Tty": False}, stream=True, timeout=(api.timeout, None))
    try:
        response.raise_for_status()
    except HTTPError as error:
        create_api_error_from_http_exception(error)
    return CancellableStream(_frames(response), response)


def _frames(response: requests.Response) -> Iterator[bytes]:
    """Yield what a command printed on both of its streams (Docker Engine API, `ContainerAttach`, stream format)."""
    with response:
        while len(header := response.raw.read(FRAME.size)) == FRAME.size:
            yield response.raw.read(FRAME.unpack(header)[1])


@contextmanager
def _cancelled(stream: CancellableStream[bytes], deadline: Deadline, what: str) -> Iterator[None]:
    """Cut the stream at the deadline: the SDK waits for output without any time-out."""
    from urllib3.exceptions import HTTPError

    timer = threading.Timer(deadline.left(), cut, (stream,))
    timer.daemon = True
    timer.start()
    try:
        yield
    except (HTTPError, OSError):  # of a stream that was cut, under TLS: without it such a stream just ends
        deadline.check(what)
        raise
    finally:
        timer.cancel()
        timer.join()


def cut(stream: CancellableStream[bytes]) -> None:
    """End a stream that somebody reads."""
    with suppress(OSError):  # the engine has cut it already
        stream.close()

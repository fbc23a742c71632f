"""Incus's REST interface at its unix socket (https://linuxcontainers.org/incus/docs/main/rest-api/)."""

from __future__ import annotations

import copy
import http.client
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlencode

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, Unreachable

PLACES = ("/run/incus/unix.socket", "/var/lib/incus/unix.socket")
CALL = 20.0  # seconds for a question
RUNNING = 103  # the status code of an operation that goes on
LARGEST = 64 * 1024 * 1024  # bytes of one answer


def socket_path(environ: Mapping[str, str]) -> str:
    """Return where Incus listens, by the variables that its own client knows."""
    if path := environ.get("INCUS_SOCKET"):
        return path
    if folder := environ.get("INCUS_DIR"):
        return f"{folder}/unix.socket"
    return next((place for place in PLACES if Path(place).exists()), PLACES[-1])


class Incus:
    """Asks and changes what is in one project of Incus."""

    def __init__(self, clock: Clock, environ: Mapping[str, str] | None = None) -> None:
        given = os.environ if environ is None else environ
        self.path, self.project = socket_path(given), given.get("INCUS_PROJECT") or "default"
        self._clock = clock

    def of(self, project: str) -> Incus:
        """Return the same Incus for another project; "" is the server itself, and all of its projects."""
        other = copy.copy(self)
        other.project = project
        return other

    def soon(self) -> Deadline:
        """Return the deadline of a question."""
        return Deadline.after(self._clock, CALL)

    def get(self, what: str, path: str, deadline: Deadline | None = None) -> Any:
        """Return what is at a path; None where there is nothing."""
        return self._sent(what, "GET", path, None, deadline or self.soon())[0]

    def text(self, what: str, path: str) -> str:
        """Return a file, such as a log; "" where there is none."""
        status, data = self._exchange(what, "GET", path, None, {}, self.soon())
        if status not in (http.client.OK, http.client.NOT_FOUND):
            raise DriverFailed(f"{what}: {_error(data)}")
        return data.decode(errors="replace") if status == http.client.OK else ""

    def put(self, what: str, path: str, kind: Literal["file", "directory"], mode: str, data: bytes = b"") -> None:
        """Make a file or a folder of root, whole."""
        headers = {"X-Incus-uid": "0", "X-Incus-gid": "0", "X-Incus-mode": mode, "X-Incus-type": kind}
        status, said = self._exchange(what, "POST", path, data, headers, self.soon())
        if status != http.client.OK:
            raise DriverFailed(f"{what}: {_error(said)}")

    def change(self, what: str, method: str, path: str, body: Any, deadline: Deadline) -> Any:
        """Change something and wait until it is done; return what Incus says of it, None where it is not there."""
        answer, operation = self._sent(what, method, path, body, deadline)
        return self.ended(what, operation, deadline) if operation else answer

    def begin(self, what: str, method: str, path: str, body: Any, deadline: Deadline) -> tuple[str, dict[str, Any]]:
        """Begin something that goes on; return the path of its operation, and what Incus says of that."""
        answer, operation = self._sent(what, method, path, body, deadline)
        if not operation:
            raise DriverFailed(f"{what}: Incus began nothing: {answer}")
        return operation, answer

    def ended(self, what: str, operation: str, deadline: Deadline) -> Any:
        """Wait for the end of an operation; return what it left."""
        seconds = max(1, int(deadline.left()))
        limit, path = Deadline.after(self._clock, seconds + CALL), f"{operation}/wait?timeout={seconds}"
        answer = self.get(what, path, limit)
        if answer is None:
            raise DriverFailed(f"{what}: Incus does not know any more how it ended")
        if answer["status_code"] == RUNNING:
            deadline.check(what)
            raise DeadlinePassed(f"{what}: not within {deadline.seconds:.3g} s")
        if answer["status_code"] != http.client.OK:
            raise DriverFailed(f"{what}: {answer.get('err') or answer.get('status')}")
        return answer.get("metadata")

    def _sent(self, what: str, method: str, path: str, body: Any, deadline: Deadline) -> tuple[Any, str]:
        data = None if body is None else json.dumps(body).encode()
        status, said = self._exchange(what, method, path, data, {"Content-Type": "application/json"}, deadline)
        if status == http.client.NOT_FOUND and method in ("GET", "DELETE"):
            return None, ""
        if status >= http.client.MULTIPLE_CHOICES:
            raise DriverFailed(f"{what}: {_error(said)}")
        try:
            answer = json.loads(said)
        except (ValueError, RecursionError):
            raise DriverFailed(f"{what}: what listens at {self.path} is not Incus") from None
        if answer.get("type") == "error":  # of what was waited for, with the status 200 of the waiting
            raise DriverFailed(f"{what}: {answer['error']}")
        return answer.get("metadata"), str(answer.get("operation") or "")

    def _exchange(
        self, what: str, method: str, path: str, data: bytes | None, headers: Mapping[str, str], deadline: Deadline
    ) -> tuple[int, bytes]:
        glue = "&" if "?" in path else "?"
        connection = _AtSocket(self.path, max(0.001, deadline.left()))
        try:
            connection.request(method, f"{path}{glue}{urlencode({'project': self.project})}", data, dict(headers))
            response = connection.getresponse()
            said = response.read(LARGEST + 1)
        except TimeoutError:
            raise DeadlinePassed(f"{what}: Incus at {self.path} did not respond in time") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"{what}: no Incus at {self.path} ({getattr(error, 'strerror', None) or error})",
                "start it (`systemctl start incus`), or name its socket in INCUS_SOCKET",
            ) from error
        finally:
            connection.close()
        if len(said) > LARGEST:
            raise DriverFailed(f"{what}: the answer of Incus has more than {LARGEST >> 20} MiB")
        return response.status, said


class _AtSocket(http.client.HTTPConnection):
    """HTTP at a unix socket."""

    def __init__(self, path: str, seconds: float) -> None:
        super().__init__("incus", timeout=seconds)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def at(*parts: str) -> str:
    """Return the path of something, whatever is in its name."""
    return "/".join(("/1.0", *(quote(part, safe="") for part in parts)))


def _error(said: bytes) -> str:
    try:
        return str(json.loads(said)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return said.decode(errors="replace").strip()[:200] or "no reason given"

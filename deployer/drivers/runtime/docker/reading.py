"""Reading containers at the socket of an engine, without the SDK: its import takes longer than most questions.

A request of HTTP/1.0 is answered as a whole, and the connection ends with it: there is nothing to keep or to join.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from deployer.core.errors import DeadlinePassed, DriverFailed, Unreachable
from deployer.drivers.runtime.docker.bounds import MOST, TooLarge

SCHEME = "unix://"
LARGEST = MOST  # bytes of one answer


def containers(what: str, address: str, labels: Sequence[str], seconds: float) -> list[dict[str, Any]]:
    """Return what the engine says of each container with these labels, as `docker inspect` does.

    One that is removed meanwhile is left out. Raise DriverFailed, or DeadlinePassed after `seconds` for all of it.
    """
    end = time.monotonic() + seconds
    filters = quote(json.dumps({"label": list(labels)}))
    found = _get(what, address, f"/containers/json?all=1&filters={filters}", end, seconds)
    each = (_get(what, address, f"/containers/{one['Id']}/json", end, seconds) for one in found or ())
    return [attributes for attributes in each if attributes is not None]


def info(what: str, address: str, seconds: float) -> dict[str, Any]:
    """Return what the engine says of itself. Raise DriverFailed, or DeadlinePassed after `seconds`."""
    return dict(_get(what, address, "/info", time.monotonic() + seconds, seconds) or {})


def _get(what: str, address: str, path: str, end: float, seconds: float) -> Any:
    """Return the JSON at a path; None where there is nothing."""
    try:
        answer = _exchange(address.removeprefix(SCHEME), f"GET {path} HTTP/1.0\r\nHost: docker\r\n\r\n", end)
    except TooLarge as error:
        raise DriverFailed(f"{what}: the Docker engine at {address} is not trusted: {error}") from error
    except TimeoutError:
        late = f"{what}: the Docker engine at {address} did not respond within {seconds:.3g} s"
        raise DeadlinePassed(late) from None
    except OSError as error:
        raise Unreachable(f"{what}: no Docker engine at {address} ({error.strerror or error})") from error
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b" ", 2)[1:2]
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        raise DriverFailed(f"{what}: the server at {address} is not a Docker engine") from None
    if status == [b"404"]:
        return None
    if status != [b"200"]:
        raise DriverFailed(f"{what}: {said.get('message', said) if isinstance(said, dict) else said}")
    return said


def _exchange(path: str, request: str, end: float) -> bytes:
    with socket.socket(socket.AF_UNIX) as engine:
        engine.settimeout(_left(end))
        engine.connect(path)
        engine.sendall(request.encode())
        answer = bytearray()
        while True:
            engine.settimeout(_left(end))
            part = engine.recv(1 << 16)
            if not part:
                return bytes(answer)
            answer += part
            if len(answer) > LARGEST:
                raise TooLarge(f"its response has more than {LARGEST >> 20} MiB")


def _left(end: float) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

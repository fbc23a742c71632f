"""Ports for tests: free now, and not taken in a moment by an outgoing connection or by a test that runs beside it."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator

# Below what the kernel gives to clients (ip_local_port_range: 32768 and up) and what instances get (21000-28999).
# A port from `bind(0)` is one of the former: under load a connection takes it before it is bound again.
OURS = range(10000, 21000)
INSTANCES = range(21000, 29000)


def part(of: range) -> range:
    """Return the part of a range that belongs to this process of the test run; all of it, if it is the only one.

    Runs of pytest beside each other are lanes; "1 2" is the second of two.
    """
    lane, lanes = map(int, os.environ.get("DEPLOYER_TEST_LANE", "0 1").split())
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    return _share(_share(of, lane, lanes), worker, workers)


def _share(of: range, number: int, count: int) -> range:
    size = len(of) // count
    return of[number * size : (number + 1) * size]


def words(of: range) -> str:
    """Write a range as DEPLOYER_PORTS has it."""
    return f"{of[0]}-{of[-1]}"


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port of this host that nobody listens on, and that this process was not given lately.

    Who asks does not listen at once, and somebody else may ask meanwhile: a port drawn anew each time comes twice.
    """
    for _ in range(len(OURS)):
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port among {words(part(OURS))}")


def _drawn() -> Iterator[int]:
    while True:
        yield from random.SystemRandom().sample(part(OURS), len(part(OURS)))


_ports = _drawn()

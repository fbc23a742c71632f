"""Ports for tests: free now, and not taken in a moment by somebody's outgoing connection."""

from __future__ import annotations

import secrets
import socket

# Below what the kernel gives to clients (ip_local_port_range: 32768 and up) and what instances get (21000-28999).
# A port from `bind(0)` is one of the former: under load a connection takes it before it is bound again.
RANGE = range(10000, 21000)


def free_port(host: str = "127.0.0.1") -> int:
    """Give a port of this machine that nobody listens on."""
    for _ in range(1000):
        port = RANGE.start + secrets.randbelow(len(RANGE))
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port among {RANGE.start}-{RANGE.stop - 1}")

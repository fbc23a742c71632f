#!/usr/bin/python3 -IS
"""Whether the HAProxy of this host takes users: called by keepalived each second (setup.yml of deployer)."""

import _socket
import sys

SOCKET = "/run/haproxy-master.sock"
OURS = "deployer_"  # frontends that `deploy hosts update` pauses begin so


def ask(command):
    """Return what the master prints."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connection.settimeout(1.0)
    connection.connect(SOCKET)
    connection.sendall(command.encode() + b"\n")
    connection.shutdown(_socket.SHUT_WR)
    chunks = []
    while chunk := connection.recv(65536):
        chunks.append(chunk)
    connection.close()
    return b"".join(chunks).decode(errors="replace").splitlines()


def worker():
    """Return the process id of the worker that takes connections; "" where there is none."""
    for line in ask("show proc"):
        words = line.split()
        if line.startswith("# old"):
            return ""
        if len(words) > 1 and words[1] == "worker":
            return words[0]
    return ""


try:
    pid = worker()
    rows = [line.split(",") for line in ask(f"@!{pid} show stat -1 1 -1")] if pid else []
except OSError as error:
    sys.exit(f"{SOCKET}: {error}")
if not pid:
    sys.exit(f"{SOCKET}: no worker")
paused = [row[0] for row in rows if len(row) > 17 and row[0].startswith(OURS) and row[17] == "PAUSED"]
sys.exit(f"takes no new connections: {', '.join(paused)}" if paused else 0)

"""An address that is kept for a program while it does not run, and who listens on it when it does."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployer.supervisor.proc import Process

_LISTEN = "0A"


def keep(address: str) -> socket.socket | None:
    """Bind an address so that nobody else can, and refuse connections; None when another program has it.

    Connections of the last run in TIME_WAIT need SO_REUSEADDR, which would let others bind beside us. Only a socket
    that listens excludes them, and one that listened once and has the option no more. So it listens for a moment.
    """
    host, port = split(address)
    held = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((host, port))
        held.listen(1)
        held.shutdown(socket.SHUT_RDWR)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError:
        held.close()
        return None
    return held


def taken(address: str) -> str:
    """Return the sentence that `keep` found another program there."""
    return f"another program listens on {address}"


def listens(program: Process, address: str) -> bool:
    """Return whether a program listens on an address, and no other user of the host."""
    mine = {0, os.geteuid()}
    found = dict(_listeners(address))
    if not found:
        return False
    strange = {inode for inode, uid in found.items() if uid not in mine}
    return not strange or strange <= _sockets(program.pid)  # a program of root's may have changed its user


def split(address: str) -> tuple[str, int]:
    """Split `host:port`, IPv6 in brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _listeners(address: str) -> Iterator[tuple[str, int]]:
    """Yield inode and user of each socket that gets connections to the address."""
    host, port = split(address)
    ours = {ipaddress.ip_address(host), ipaddress.ip_address("::"), ipaddress.ip_address("0.0.0.0")}  # noqa: S104
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                local, number = fields[1].split(":")
                if fields[3] == _LISTEN and int(number, 16) == port and _address(local) in ours:
                    yield fields[9], int(fields[7])


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Read an address as the kernel prints it: words of 32 bits, in the order of bytes of this host."""
    words = (bytes.fromhex(text[at : at + 8]) for at in range(0, len(text), 8))
    found = ipaddress.ip_address(b"".join(word[::-1] for word in words))
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found


def _sockets(session: int) -> set[str]:
    """Return the inodes of the sockets that processes of a session have open."""
    found: set[str] = set()
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if os.getsid(int(place.name)) != session:
                continue
            for link in (place / "fd").iterdir():
                with suppress(OSError):
                    target = str(link.readlink())
                    if target.startswith("socket:["):
                        found.add(target[8:-1])
    return found

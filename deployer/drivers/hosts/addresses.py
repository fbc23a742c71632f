"""Addresses of machines as numbers: an engine binds those, and a name may mean another one tomorrow."""

from __future__ import annotations

import ipaddress
import socket
import threading
from collections.abc import Sequence
from dataclasses import replace
from queue import Empty, SimpleQueue

from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.host import Host

LOOKUP_SECONDS = 10.0  # for a name service that is unreachable: its own time-outs are its own


def numeric(hosts: Sequence[Host], deadline: Deadline) -> tuple[Host, ...]:
    """Give the machines with addresses that are numbers. Raises Refused for a name that means none."""
    return tuple(host if _is_number(host.address) else _looked_up(host, deadline) for host in hosts)


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _looked_up(host: Host, deadline: Deadline) -> Host:
    answer: SimpleQueue[str | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host.address, None, type=socket.SOCK_STREAM)
            answer.put(str(found[0][4][0]))
        except OSError as error:
            answer.put(error)

    threading.Thread(target=ask, name="lookup", daemon=True).start()
    seconds = min(LOOKUP_SECONDS, deadline.left())
    try:
        found = answer.get(timeout=seconds)
    except Empty:
        found = OSError(f"no response within {seconds:g} s")
    if isinstance(found, OSError):
        raise Refused(
            f"{host.name}: nothing is known of its address {host.address}: {found}",
            "give its number in the inventory: deployer_address: 192.0.2.7",
        )
    return replace(host, address=found)

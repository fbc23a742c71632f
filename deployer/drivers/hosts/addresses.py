"""Addresses of hosts as numbers: an engine binds those, and a name may mean another one tomorrow."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import replace

from deployer.core.background import within
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.core.host import Host

LOOKUP_SECONDS = 10.0  # for a name service that is unreachable: its own time-outs are its own


def numeric(hosts: Sequence[Host], deadline: Deadline) -> tuple[Host, ...]:
    """Return the hosts with addresses that are numbers. Raises Refused for a name that means none."""
    return tuple(host if _is_number(host.address) else _looked_up(host, deadline) for host in hosts)


def _is_number(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def _looked_up(host: Host, deadline: Deadline) -> Host:
    def ask() -> str:
        return str(socket.getaddrinfo(host.address, None, type=socket.SOCK_STREAM)[0][4][0])

    seconds = min(LOOKUP_SECONDS, deadline.left())
    try:
        return replace(host, address=within(seconds, "lookup", ask))
    except OSError as error:
        why = f"no response within {seconds:g} s" if type(error) is TimeoutError else error
        raise Refused(
            f"{host.name}: nothing is known of its address {host.address}: {why}",
            "give its number in the inventory: deployer_address: 192.0.2.7",
        ) from None

"""`ports` of a service: short and long form, one entry for each port."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployer.manifest.tree import Items, Node, Position, Scalar, Table

_SHORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:.]+\]|[0-9.]*):)?(?P<published>[0-9]+(?:-[0-9]+)?)?:)?"
    r"(?P<target>[0-9]+(?:-[0-9]+)?)(?:/(?P<protocol>[a-z]+))?"
)
_ANY = ("", "0.0.0.0", "::", "[::]")  # noqa: S104 - the address of every interface, as Compose files write it
MOST = 65535


@dataclass(frozen=True)
class Published:
    """A port of a service: where it listens, and where the host publishes it; 0 is any port, "" every address."""

    target: int
    published: int
    ip: str
    protocol: str
    place: Position
    index: int  # of its entry in the list

    @property
    def listen(self) -> str:
        """The address that users reach, as a manifest has it."""
        ip = f"[{self.ip}]" if ":" in self.ip else self.ip or "*"
        return f"{ip}:{self.published}"


def published(service: Table) -> Iterator[Published]:
    """Return the ports of a service; what is no port is left to `unreadable`."""
    for index, node in enumerate(_entries(service)):
        yield from _ports(node, index)


def unreadable(service: Table) -> list[int]:
    """Return the entries that are no ports."""
    return [index for index, node in enumerate(_entries(service)) if not list(_ports(node, index))]


def _entries(service: Table) -> tuple[Node, ...]:
    listed = service.entries.get("ports")
    return listed.items if isinstance(listed, Items) else ()


def _ports(node: Node, entry: int) -> Iterator[Published]:
    if isinstance(node, Scalar):
        found = _SHORT.fullmatch(node.text.strip())
        given = found.groupdict() if found else {}
    elif isinstance(node, Table):
        keys = {"ip": "host_ip", "published": "published", "target": "target", "protocol": "protocol"}
        scalars = {ours: node.entries.get(theirs) for ours, theirs in keys.items()}
        given = {key: scalar.text if isinstance(scalar, Scalar) else None for key, scalar in scalars.items()}
    else:
        given = {}
    targets, outside = _range(given.get("target")), _range(given.get("published"))
    ip = _address(given.get("ip") or "")
    if not targets or ip is None or (outside and len(outside) != len(targets)):
        return
    for index, target in enumerate(targets):
        number = outside[index] if outside else 0
        yield Published(target, number, ip, given.get("protocol") or "tcp", node.place, entry)


def _range(text: str | None) -> list[int]:
    first, _, last = (text or "").partition("-")
    if not first.isdecimal() or not (last or first).isdecimal():
        return []
    numbers = range(int(first), int(last or first) + 1)
    return list(numbers) if numbers and numbers[0] >= 1 and numbers[-1] <= MOST else []


def _address(text: str) -> str | None:
    if text in _ANY:
        return ""
    try:
        return str(ipaddress.ip_address(text.strip("[]")))
    except ValueError:
        return None

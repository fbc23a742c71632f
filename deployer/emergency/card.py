"""The card of a service: where its proxy is reached, in a file that is read in no time.

    socket /var/lib/deployer/proxy/master.sock
    map /var/lib/deployer/proxy/maps/state.map
    lock /var/lib/deployer/proxy/lock

The driver of the proxy writes it when it learns of the service (`STATE/emergency/SERVICE`).
"""

from __future__ import annotations

import os

FOLDER = "emergency"
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class Card:
    """Master socket, map of live values and lock of the proxy that serves a service."""

    __slots__ = ("lock", "map", "socket")

    def __init__(self, socket: str, map: str, lock: str) -> None:
        self.socket, self.map, self.lock = socket, map, lock

    def text(self) -> str:
        """Write it as the file has it."""
        return f"socket {self.socket}\nmap {self.map}\nlock {self.lock}\n"


def path(state: str, service: str) -> str:
    """Give the file of a service's card."""
    return f"{state}/{FOLDER}/{service}"


def read(state: str, service: str) -> Card | None:
    """Read a card; None when there is none that can be read."""
    try:
        with open(path(state, service), encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            found = dict(line.rstrip("\n").split(" ", 1) for line in file)
        return Card(found["socket"], found["map"], found["lock"])
    except (OSError, ValueError, KeyError):
        return None


def services(state: str) -> list[str]:
    """Name the services that have a card."""
    try:
        names = os.listdir(f"{state}/{FOLDER}")  # noqa: PTH208 - pathlib costs
    except OSError:
        return []
    return [name for name in names if is_name(name)]


def is_name(name: str) -> bool:
    """Tell whether a name can be that of a service: nothing that leads out of a folder."""
    return bool(name) and NAME.issuperset(name)

"""The card of a service: where its proxy is reached, in a file that is read in no time.

    socket /var/lib/deployer/proxy/master.sock
    map /var/lib/deployer/proxy/maps/state.map
    lock /var/lib/deployer/proxy/lock

The driver of the proxy writes it when it learns of the service (`STATE/emergency/SERVICE`). Of several proxies on other
hosts it says how each is reached, word by word:

    proxy edge1
    way ssh
    way edge1.example.com
    socket …
"""

from __future__ import annotations

import os

FOLDER = "emergency"
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
PLAIN = NAME | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ._@+=:~/")  # in paths, as the driver has them


class Card:
    """Master socket, map of live values and lock of the proxy that serves a service."""

    __slots__ = ("lock", "map", "socket")

    def __init__(self, socket: str, map: str, lock: str) -> None:
        self.socket, self.map, self.lock = socket, map, lock

    def text(self) -> str:
        """Write it as the file has it."""
        return f"socket {self.socket}\nmap {self.map}\nlock {self.lock}\n"


class Far:
    """A proxy on another host: its name there, the command line that leads to a shell there, and its card there."""

    __slots__ = ("card", "name", "way")

    def __init__(self, name: str, way: list[str], card: Card) -> None:
        self.name, self.way, self.card = name, way, card

    def text(self) -> str:
        """Write it as the file has it."""
        return f"proxy {self.name}\n{''.join(f'way {word}' + chr(10) for word in self.way)}{self.card.text()}"


def path(state: str, service: str) -> str:
    """Return the file of a service's card."""
    return f"{state}/{FOLDER}/{service}"


def read(state: str, service: str) -> Card | None:
    """Read the card of a service whose proxy is here; None when there is none that can be read."""
    try:
        with open(path(state, service), encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            found = dict(line.rstrip("\n").split(" ", 1) for line in file)
        return None if "proxy" in found else Card(found["socket"], found["map"], found["lock"])
    except (OSError, ValueError, KeyError):
        return None


def read_far(state: str, service: str) -> list[Far]:
    """Read the card of a service of several proxies; empty where there is none that can be read."""
    try:
        with open(path(state, service), encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            lines = [line.rstrip("\n").split(" ", 1) for line in file]
        found: list[Far] = []
        for key, word in lines:
            if key == "proxy":
                found.append(Far(word, [], Card("", "", "")))
            elif key == "way":
                found[-1].way.append(word)
            else:
                setattr(found[-1].card, key, word)
        return found if all(_whole(far) for far in found) else []
    except (OSError, ValueError, IndexError, AttributeError):
        return []


def _whole(far: Far) -> bool:
    """Return whether all is said of a proxy; what is said to a shell there stands for itself."""
    card = far.card
    return bool(far.way) and all(text and PLAIN.issuperset(text) for text in (card.socket, card.map, card.lock))


def services(state: str) -> list[str]:
    """Name the services that have a card."""
    try:
        names = os.listdir(f"{state}/{FOLDER}")  # noqa: PTH208 - pathlib costs
    except OSError:
        return []
    return [name for name in names if is_name(name)]


def is_name(name: str) -> bool:
    """Return whether a name can be that of a service: nothing that leads out of a folder."""
    return bool(name) and NAME.issuperset(name)

"""A manifest as it is written: each value with its text and the line it stands on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from deployer.manifest.text import Decimal, Whole

Path = tuple[str | int, ...]

# YAML 1.2's numbers without its traps: no leading zero (is 010 eight?), no sexagesimals, no infinities
_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})", re.ASCII)
_DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})?\.[0-9]{1,18}([eE][-+]?[0-9]{1,2})?|[-+]?[0-9]\.", re.ASCII)
_NOTHING = ("", "~", "null")


@dataclass(frozen=True)
class Position:
    """Where a value stands; line 0 where there are no lines, as on the command line."""

    file: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class Scalar:
    """A single value. `plain` is one without quotes; `written` is everything in the file, before substitution."""

    place: Position
    text: str
    plain: bool
    written: str

    @property
    def value(self) -> Any:
        """What the text means: nothing, true or false, a number, or the text itself."""
        return read_scalar(self.text) if self.plain else self.text


@dataclass(frozen=True)
class Items:
    """A list."""

    place: Position
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Table:
    """A mapping; `keys` holds the place of each key."""

    place: Position
    entries: Mapping[str, Node]
    keys: Mapping[str, Position]

    def put(self, key: str, node: Node, place: Position) -> Table:
        """Return the same mapping with one key set."""
        return replace(self, entries={**self.entries, key: node}, keys={**self.keys, key: place})

    def drop(self, key: str) -> Table:
        """Return the same mapping without a key."""
        entries, keys = dict(self.entries), dict(self.keys)
        entries.pop(key, None)
        keys.pop(key, None)
        return replace(self, entries=entries, keys=keys)


Node = Scalar | Items | Table


def read_scalar(text: str) -> Any:
    """Read an unquoted value. `yes`, `on`, `0777` and `12:30` are text: what they mean depends on whom one asks."""
    if text in _NOTHING:
        return None
    if text in ("true", "false"):
        return text == "true"
    if _WHOLE.fullmatch(text):
        return Whole(text)
    return Decimal(text) if _DECIMAL.fullmatch(text) else text


def data(node: Node) -> Any:
    """Return plain dicts, lists and values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [data(item) for item in node.items]
    return {key: data(entry) for key, entry in node.entries.items()}


def literal(value: Any, place: Position) -> Node:
    """Make a node of plain data that comes from elsewhere than a file."""
    if isinstance(value, Mapping):
        entries = {str(key): literal(entry, place) for key, entry in value.items()}
        return Table(place, entries, dict.fromkeys(entries, place))
    if isinstance(value, list | tuple):
        return Items(place, tuple(literal(item, place) for item in value))
    if isinstance(value, bool):
        value = "true" if value else "false"
        return Scalar(place, value, True, value)
    return Scalar(place, str(value), not isinstance(value, str), str(value))


def place_of(root: Node, path: Path) -> Position:
    """Return the place of the value at the path, or of the nearest thing around it that is written down."""
    node, place = root, root.place
    for part in path:
        if isinstance(node, Table) and str(part) in node.entries:
            place = node.keys[str(part)]
            node = node.entries[str(part)]
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            place = node.place
        else:
            break
    return place


def node_at(root: Node, path: Path) -> Node | None:
    """Return the node at the path, None when nothing is written there."""
    node: Node | None = root
    for part in path:
        if isinstance(node, Table):
            node = node.entries.get(str(part))
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            return None
    return node


def spell(path: Path) -> str:
    """Write a path for people: `smoke[0].get`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def unspell(text: str) -> Path:
    """Read a path that `spell` wrote."""
    return tuple(_parts(text))


def _parts(text: str) -> Iterator[str | int]:
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", text):
        yield name or int(index)

"""What becomes of one service: the keys of its manifest, and what was not taken over."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from deployer.core.errors import Problem
from deployer.manifest import tree
from deployer.manifest.compose.project import Project, plain
from deployer.manifest.tree import Items, Node, Scalar, Table

_BARE = re.compile(r"\$(\$|\{|([A-Za-z_][A-Za-z0-9_]*))", re.ASCII)


class Raw(str):
    """A text whose variables are left to the manifest: their values may be secrets, and differ from host to host."""

    __slots__ = ()


@dataclass
class Draft:
    """A manifest in the making. `keys` are its data; `notes` say what was not taken over, and why, with the line."""

    project: Project
    name: str  # in the Compose file
    keys: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, str] = field(default_factory=dict)
    notes: list[Problem] = field(default_factory=list)

    @property
    def node(self) -> Table:
        """The service with its variables filled in."""
        return self.project.services[self.name]

    def at(self, *path: str | int) -> Node | None:
        """Return the node of the service at a path."""
        return tree.node_at(self.node, path)

    def data(self, *path: str | int) -> Any:
        """Return the plain data there, None where nothing is."""
        return plain(self.at(*path))

    def text(self, *path: str | int) -> str:
        """Return the text of a single value there, empty where there is none."""
        node = self.at(*path)
        return node.text if isinstance(node, Scalar) else ""

    def raw(self, *path: str | int) -> Raw:
        """Return the text there as it is written, its variables in braces."""
        node = tree.node_at(self.project.raw, ("services", self.name, *path))
        return kept(node.text) if isinstance(node, Scalar) else Raw("")

    def note(self, why: str, *path: str | int) -> None:
        """Record why what is at a path was not taken over."""
        spelt = tree.spell(("services", self.name, *path))
        self.notes.append(Problem(self.project.place("services", self.name, *path), spelt, why))

    def put(self, dotted: str, value: Any, comment: str = "") -> None:
        """Set a key of the manifest; `traffic.listen` is one of a section."""
        section, _, key = dotted.rpartition(".")
        (self.keys.setdefault(section, {}) if section else self.keys)[key] = value
        if comment:
            self.comments[section or key] = comment

    def pairs(self, *path: str | int) -> dict[str, tuple[Raw | None, tuple[str | int, ...]]]:
        """Return a mapping, or a list of NAME=value, by name: the written value (None without one) and its path."""
        node = self.at(*path)
        found: dict[str, tuple[Raw | None, tuple[str | int, ...]]] = {}
        if isinstance(node, Table):
            for key in node.entries:
                empty = self.data(*path, key) is None
                found[key] = (None if empty else self.raw(*path, key), (*path, key))
        for index, item in enumerate(node.items if isinstance(node, Items) else ()):
            if isinstance(item, Scalar):
                name, equals, value = self.raw(*path, index).partition("=")
                found[name] = (Raw(value) if equals else None, (*path, index))
        return found

    def words(self, *path: str | int) -> list[str] | None:
        """Return a command as a list; a text is split as a shell would, without one. None where nothing is given."""
        node = self.at(*path)
        if isinstance(node, Items):
            return [self.raw(*path, index) for index in range(len(node.items))]
        if not isinstance(node, Scalar) or not node.text.strip():
            return None
        try:
            return split_words(node.text, self.raw(*path))
        except ValueError as wrong:
            self.note(f"cannot be split into words: {wrong}", *path)
            return None


def split_words(filled: str, raw: Raw) -> list[str]:
    """Split a command as a shell would, as it is written where its variables make no other words. Raise ValueError."""
    import shlex

    words, written = shlex.split(filled), shlex.split(raw)
    return [Raw(word) for word in written] if len(written) == len(words) else words


def kept(text: str) -> Raw:
    """Return a text of a Compose file for a manifest, where a variable has braces."""
    return Raw(_BARE.sub(lambda found: f"${{{found[2]}}}" if found[2] else found[0], text))


def listed(node: Node | None) -> int:
    """Return how many entries a list has."""
    return len(node.items) if isinstance(node, Items) else 0

"""The manifest of a bundle: everything filled in and merged, written so that it reads back the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from deployer.manifest.tree import Items, Node, Position, Scalar, Table, literal

_DROPPED = ("build", "env_file", "version")  # the image is there, and what the files hold is in `env`


def resolved(tree: Table, changed: Mapping[str, str]) -> bytes:
    """Return the text of a manifest that was loaded, with these keys changed, as YAML."""
    for key in _DROPPED:
        tree = tree.drop(key)
    place = Position("bundle")
    for key, value in changed.items():
        tree = tree.put(key, literal(value, place), place)
    return ("\n".join(_lines(tree, "")) + "\n").encode()


def _lines(node: Table, indent: str) -> Iterator[str]:
    for key, entry in node.entries.items():
        yield from _written(f"{indent}{_quoted(key)}:", entry, f"{indent}  ")


def _written(head: str, node: Node, indent: str) -> Iterator[str]:
    if isinstance(node, Scalar):
        yield f"{head} {_scalar(node)}"
    elif isinstance(node, Items):
        yield head if node.items else f"{head} []"
        for item in node.items:
            yield from _written(f"{indent}-", item, f"{indent}  ")
    else:
        yield head if node.entries else f"{head} {{}}"
        yield from _lines(node, indent)


def _scalar(node: Scalar) -> str:
    """Write a value: text in quotes, with its dollars doubled, as they stand for themselves."""
    value = node.value
    return _quoted(value.replace("$", "$$")) if isinstance(value, str) else node.text or "null"


def _quoted(text: str) -> str:
    written = json.dumps(text, ensure_ascii=False)
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in written)

"""`${VAR}` in the values of a manifest, from the environment of the command.

| written | means |
|---|---|
| `${VAR}` | the value of VAR; refused when it is not set |
| `${VAR:-text}` | the same, or `text` when VAR is not set or empty |
| `${VAR:?text}` | the same, refused with `text` when VAR is not set or empty |
| `$$` | a dollar |
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from deployer.core.errors import Problem
from deployer.manifest.tree import Items, Node, Path, Scalar, Table, read_scalar, spell

_USE = re.compile(r"\$\$|\$\{([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)([^{}]*))?\}|\$\{", re.ASCII)


class _Unset(Exception):
    def __init__(self, message: str, hint: str) -> None:
        self.message = message
        self.hint = hint


def substitute(node: Node, environ: Mapping[str, str], problems: list[Problem], path: Path = ()) -> Node:
    """Fill in the variables of all values (never of keys), adding a problem for each that cannot be."""
    if isinstance(node, Items):
        items = (substitute(item, environ, problems, (*path, index)) for index, item in enumerate(node.items))
        return replace(node, items=tuple(items))
    if isinstance(node, Table):
        filled = {key: substitute(entry, environ, problems, (*path, key)) for key, entry in node.entries.items()}
        return replace(node, entries=filled)
    try:
        return _fill(node, environ)
    except _Unset as unset:
        problems.append(Problem(str(node.place), spell(path), unset.message, unset.hint))
        return node


def _fill(scalar: Scalar, environ: Mapping[str, str]) -> Scalar:
    if "$" not in scalar.text:
        return scalar
    text = _USE.sub(lambda use: _value(use, environ), scalar.text)
    # A value that was written without quotes may turn out a number or a switch, but never nothing at all.
    return replace(scalar, text=text, plain=scalar.plain and read_scalar(text) is not None)


def _value(use: re.Match[str], environ: Mapping[str, str]) -> str:
    name, form, rest = use[1], use[2], use[3]
    if use[0] == "$$":
        return "$"
    if name is None:
        raise _Unset("`${` begins no variable", "write ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ for a dollar")
    value = environ.get(name)
    if value and not value.isascii() and value.encode("utf-8", "ignore").decode() != value:
        raise _Unset(f"the environment variable {name} is not UTF-8", "set it to text")
    if value or (value is not None and form is None):
        return value
    if form == ":-":
        return rest or ""
    state = "not set" if value is None else "empty"
    if form == ":?":
        raise _Unset(rest or f"the environment variable {name} is {state}", f"set {name}")
    raise _Unset(f"the environment variable {name} is not set", f"set it, or write ${{{name}:-default}}")

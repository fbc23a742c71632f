"""Variables in texts, written as in the Compose specification.

| written | means |
|---|---|
| `${VAR}` | the value of VAR; refused when it is not set |
| `${VAR:-text}` | the same, or `text` when VAR is not set or empty |
| `${VAR-text}` | the same, or `text` when VAR is not set |
| `${VAR:?text}` | the value of VAR; refused with `text` when VAR is not set or empty |
| `${VAR?text}` | the same; refused with `text` when VAR is not set |
| `${VAR:+text}` | `text` when VAR is set and not empty, else nothing |
| `${VAR+text}` | `text` when VAR is set, else nothing |
| `$$` | a dollar |

A `text` may have variables in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from deployer.core.errors import Problem
from deployer.manifest.tree import Items, Node, Path, Scalar, Table, read_scalar, spell

NAME = "[A-Za-z_][A-Za-z0-9_]*"
FORMS = "write ${NAME}, ${NAME:-default}, ${NAME:?message}; $$ for a dollar"
_START = re.compile(rf"\$(\$|\{{(?:({NAME})(:?[-?+])?)?)", re.ASCII)
_START_BARE = re.compile(rf"\$(\$|\{{(?:({NAME})(:?[-?+])?)?|({NAME}))", re.ASCII)


Lookup = Callable[[str], str | None]


class Unset(Exception):
    """A variable that has no value, or a `${` that is no variable; `name` is the variable's, empty without one."""

    def __init__(self, message: str, hint: str, name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.name = name


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
    except Unset as unset:
        problems.append(Problem(str(node.place), spell(path), unset.message, unset.hint, unset.name))
        return node


def _fill(scalar: Scalar, environ: Mapping[str, str]) -> Scalar:
    if "$" not in scalar.text:
        return scalar
    text = filled(scalar.text, environ.get)
    # A value that was written without quotes may turn out a number or a switch, but never nothing at all.
    return replace(scalar, text=text, plain=scalar.plain and read_scalar(text) is not None)


def filled(text: str, value_of: Lookup, *, bare: bool = False) -> str:
    """Return the text with its variables filled in; with `bare`, `$NAME` is one too. Raise Unset."""
    start = _START_BARE if bare else _START
    out, at = "", 0
    while found := start.search(text, at):
        out += text[at : found.start()]
        if found[1] == "$":
            out, at = out + "$", found.end()
        elif found[1][0] == "{":
            end = _end(text, found.end())
            form, rest = found[3] or "", text[found.end() : end]
            if not found[2] or end < 0 or (rest and not form):
                raise Unset("`${` begins no variable", FORMS)
            out, at = out + _value(found[2], form, rest, value_of, bare), end + 1
        else:
            out, at = out + _value(found[1], "", "", value_of, bare), found.end()
    return out + text[at:]


def _end(text: str, at: int) -> int:
    """Return where the brace is closed that was opened before `at`; -1 when it is not."""
    depth = 1
    for found in re.compile(r"\$\$|\$\{|\}").finditer(text, at):
        depth += {"${": 1, "}": -1}.get(found[0], 0)
        if depth == 0:
            return found.start()
    return -1


def _value(name: str, form: str, rest: str, value_of: Lookup, bare: bool) -> str:
    value = value_of(name)
    if value and not value.isascii() and value.encode("utf-8", "ignore").decode() != value:
        raise Unset(f"the environment variable {name} is not UTF-8", "set it to text", name)
    given = value is not None and not (form.startswith(":") and not value)
    if form.endswith("+"):
        return filled(rest, value_of, bare=bare) if given else ""
    if given:
        return value or ""
    if form.endswith("-"):
        return filled(rest, value_of, bare=bare)
    state = "not set" if value is None else "empty"
    message = f"the environment variable {name} is {state}"
    if form.endswith("?"):
        raise Unset(rest or message, f"set {name}", name)
    raise Unset(message, f"set it, or write ${{{name}:-default}}", name)

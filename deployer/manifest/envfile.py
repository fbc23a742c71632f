"""Files of environment variables, NAME=value on each line, with the syntax and the order of the Compose specification.

python-dotenv reads the lines; what a value refers to is filled in here, as that is where the two differ.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from deployer.core.errors import Problem
from deployer.manifest import variables
from deployer.manifest.tree import Items, Node, Position, Scalar, Table

MAX_BYTES = 1024 * 1024
_AMBIGUOUS = re.compile(r"[^=]*=[ \t]+#")  # `A= #x`: empty to some readers, `#x` to others
_IN_QUOTES = re.compile(r"""[^=]*=[ \t]*(['"])""")
_DOLLAR = "\0"  # what stands for `\$`; a value has no NUL

KEY = "env_file"
DOTENV = ".env"
_NOT_THERE = "is not there"


class Variables(Mapping[str, str]):
    """The environment of a command, and behind it the file `.env` beside the manifest, as Compose reads it.

    The file is read when the first variable is missing in the environment; `problems` are those of its lines. Without
    `links` it is not read where it is one: to a file that is of somebody else.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path, *, links: bool = True) -> None:
        self._environ, self._file, self._links = environ, folder / DOTENV, links
        self._behind: dict[str, str] | None = None
        self.problems: list[Problem] = []

    def _read(self) -> dict[str, str]:
        if self._behind is None:
            self._behind = {}  # what the file itself misses is not looked for in it again
            if self._file.is_file():
                self._behind = texts(read(self._file, self._environ, {}, self.problems, links=self._links))
        return self._behind

    def __getitem__(self, name: str) -> str:
        value = self._environ.get(name)
        return self._read()[name] if value is None else value

    def __iter__(self) -> Iterator[str]:
        return iter({**self._read(), **self._environ})

    def __len__(self) -> int:
        return len({**self._read(), **self._environ})


def texts(found: Mapping[str, Scalar]) -> dict[str, str]:
    """Return the plain values of what was read."""
    return {name: scalar.text for name, scalar in found.items()}


def merged(root: Table, folder: Path, environ: Mapping[str, str], problems: list[Problem]) -> Table:
    """Return a manifest whose `env` has the variables of its `env_file`s too, each with the file and line of its own.

    A later file wins over an earlier one, and `env` and `secrets` win over files.
    """
    found: dict[str, Scalar] = {}
    for path, name in _names(root.entries.get(KEY)):
        if (trouble := _trouble(folder / name.text)) is None:
            found |= read(folder / name.text, environ, texts(found), problems)
        else:
            hint = f"paths are relative to {folder}"
            lacking = name.text if trouble == _NOT_THERE else ""
            problems.append(Problem(str(name.place), path, f"{name.text} {trouble}", hint, lacking))
    env = root.entries.get("env", Table(root.place, {}, {}))
    if not found or not isinstance(env, Table):
        return root
    given = {*env.entries, *_of_secrets(root.entries.get("secrets"))}
    for variable, scalar in found.items():
        if variable not in given:
            env = env.put(variable, scalar, scalar.place)
    return root.put("env", env, root.keys.get("env", root.keys[KEY]))


def _names(node: Node | None) -> list[tuple[str, Scalar]]:
    """Return what names a file, with its path; what names none is refused by the models."""
    if isinstance(node, Scalar):
        return [(KEY, node)] if isinstance(node.value, str) and node.text else []
    items = node.items if isinstance(node, Items) else ()
    named = [(f"{KEY}[{index}]", item) for index, item in enumerate(items) if isinstance(item, Scalar)]
    return [(path, item) for path, item in named if isinstance(item.value, str) and item.text]


def _of_secrets(node: Node | None) -> set[str]:
    names = set(node.entries) if isinstance(node, Table) else set()
    return names | {f"{name}_FILE" for name in names}


def _trouble(file: Path) -> str | None:
    try:
        if file.is_file():
            return None
        return "is not a file" if file.exists() else _NOT_THERE
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"


def read(
    file: Path,
    environ: Mapping[str, str],
    before: Mapping[str, str],
    problems: list[Problem],
    *,
    links: bool = True,
) -> dict[str, Scalar]:
    """Read the variables of a file.

    A value may refer to the environment, to files `before` and to lines above, in this order. A name without `=` takes
    the value of the environment, or is left out. No problem repeats a value.
    """
    from dotenv.parser import parse_stream

    text = _text(file, problems, 0 if links else os.O_NOFOLLOW)
    found: dict[str, Scalar] = {}

    def value_of(name: str) -> str | None:
        value = environ.get(name)
        if value is None:
            value = before.get(name)
        return found[name].text if value is None and name in found else value

    for binding in parse_stream(io.StringIO(text)):
        place = Position(file.name, _line(binding.original.line, binding.original.string))
        written = binding.original.string.lstrip()
        if binding.error or (binding.value is not None and _AMBIGUOUS.match(written)):
            hint = "put the value in quotes" if "=" in written else "e.g. LOG_LEVEL=info; a comment starts with #"
            problems.append(Problem(str(place), "", "is not NAME=value", hint))
        elif binding.key is not None:
            value = binding.value
            try:
                value = environ.get(binding.key) if value is None else _filled(value, written, value_of)
            except variables.Unset:
                # The name may be a part of a password: it is not repeated.
                what = "the value refers to a variable that is not set"
                problems.append(Problem(str(place), "", what, "put it in single quotes if the $ is meant"))
                value = ""
            if value is not None:
                found[binding.key] = Scalar(place, value, False, value)
    return found


def _text(file: Path, problems: list[Problem], flags: int) -> str:
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_CLOEXEC | flags), "rb") as opened:
            raw = opened.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError("it is larger than 1 MiB")
        text = raw.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it has a NUL character in it")
    except UnicodeDecodeError:
        problems.append(Problem(file.name, "", "is not UTF-8", "save the file as UTF-8"))
    except (OSError, ValueError) as error:
        problems.append(Problem(file.name, "", f"cannot be read: {getattr(error, 'strerror', None) or error}"))
    else:
        return text
    return ""


def _line(first: int, original: str) -> int:
    """Return the line of a binding: blank lines before it belong to what was read with it."""
    return first + original[: len(original) - len(original.lstrip())].count("\n")


def _filled(value: str, written: str, value_of: variables.Lookup) -> str:
    quote = _IN_QUOTES.match(written)
    if quote is None:
        return variables.filled(value, value_of, bare=True)
    if quote[1] == "'":
        return value
    return variables.filled(value.replace("\\$", _DOLLAR), value_of, bare=True).replace(_DOLLAR, "$")

"""From the bytes of a YAML file to a tree of values with lines; everything that is wrong is a Problem."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from deployer.core.errors import Problem
from deployer.manifest.tree import Items, Node, Position, Scalar, Table

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 10_000

# What PyYAML says (a pattern) and what it means to the person who wrote the file.
_MEANING = (
    (r"'\\t'", "a tab cannot indent", "use spaces"),
    (r"mapping values are not allowed", "a colon where none can be", "check the indentation, or quote the text"),
    (r"could not find expected ':'", "a key without its colon", "write key: value"),
    (r"expected <block end>", "the indentation fits none of the lines above", "line it up with its siblings"),
    (r"unexpected end of stream", "a quote is not closed", "close it"),
    (r"expected ',' or '\]'", "a list that began with [ is not closed", "close it with ]"),
    (r"expected ',' or '\}'", "a mapping that began with { is not closed", "close it with }"),
    (r"single document", "there is more than one document in the file", "remove the line --- and what follows it"),
    (r"undefined alias", "a * refers to an anchor that is not there", "quote the text if no alias is meant"),
    (r"unknown escape character", "an unknown escape in double quotes", "use single quotes, or write \\\\"),
    (r"cannot start any token", "a character that no value can start with", "put the text in quotes"),
    (r"undefined tag handle", "tags (!…) are not supported", "remove the tag"),
)


class _Stop(Exception):
    """Nothing more can be read from this file."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


@dataclass
class Document:
    """What was read: the tree (None when there is none to speak of) and the problems on the way."""

    root: Table | None = None
    problems: list[Problem] = field(default_factory=list)


def read(path: Path) -> Document:
    """Read a YAML file of at most 1 MiB; never raises."""
    try:
        text = _text(path)
    except _Stop as stop:
        return Document(problems=[stop.problem])
    return parse(path.name, text)


def parse(name: str, text: str) -> Document:
    """Read YAML text; `name` stands for the file in messages. Never raises."""
    try:
        return _Reader(name).document(text)
    except _Stop as stop:
        return Document(problems=[stop.problem])


def _text(path: Path) -> str:
    name = path.name
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "is not there"
            where = "" if str(path) == name else f": {path}"
            raise _Stop(Problem(name, "", f"{what}{where}", "`deploy init` writes one"))
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _Stop(Problem(name, "", f"cannot be read: {getattr(error, 'strerror', None) or error}")) from error
    if len(raw) > MAX_BYTES:
        raise _Stop(Problem(name, "", "is larger than 1 MiB", "a manifest is a page or two; is this the right file?"))
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        kind = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "not UTF-8"
        raise _Stop(Problem(f"{name}:{line}", "", f"the text is {kind}", "save the file as UTF-8")) from error


class _TooMuch(yaml.MarkedYAMLError):
    """The file is deeper or longer than a manifest can be."""


class _Composer(yaml.SafeLoader):
    """PyYAML's safe loader up to the tree, with limits and without tags."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) not in (None, "!", "tag:yaml.org,2002:str"):
            raise yaml.MarkedYAMLError(problem="undefined tag handle", problem_mark=event.start_mark)
        self.depth += 1
        self.values += 1
        if self.depth > MAX_DEPTH or self.values > MAX_VALUES:
            limit = f"more than {MAX_DEPTH} levels" if self.depth > MAX_DEPTH else f"more than {MAX_VALUES} values"
            raise _TooMuch(problem=limit, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and isinstance(event, yaml.ScalarEvent) and event.tag:
            node.style = "'"  # `!!str 8080` says the same as '8080'
        return node


class _Reader:
    def __init__(self, name: str) -> None:
        self.name = name
        self.problems: list[Problem] = []
        self.values = 0

    def document(self, text: str) -> Document:
        root = self._compose(text)
        if root is None or (isinstance(root, yaml.ScalarNode) and root.style is None and not root.value):
            raise _Stop(Problem(self.name, "", "is empty", "`deploy init` writes a first one"))
        if not isinstance(root, yaml.MappingNode):
            where = str(self._place(root))
            raise _Stop(Problem(where, "", "must be keys with values, like `service: shop`"))
        tree = self._table(root, 0)
        return Document(tree, self.problems)

    def _compose(self, text: str) -> yaml.Node | None:
        try:
            composer = _Composer(text)
            try:
                return composer.get_single_node()
            finally:
                composer.dispose()
        except yaml.MarkedYAMLError as error:
            raise _Stop(self._syntax(error, text)) from error
        except ReaderError as error:
            line = text.count("\n", 0, error.position) + 1
            what = f"the character U+{int(error.character):04X} is not allowed"
            raise _Stop(Problem(f"{self.name}:{line}", "", what, "remove it")) from error
        except (yaml.YAMLError, ValueError, IndexError) as error:
            # The scanner trips over a few malformed escapes (\U00110000) with errors that are not its own.
            raise _Stop(Problem(self.name, "", f"is not YAML: {error}")) from error

    def _syntax(self, error: yaml.MarkedYAMLError, text: str) -> Problem:
        mark = error.problem_mark or error.context_mark
        where = f"{self.name}:{mark.line + 1}" if mark else self.name
        line = text.split("\n")[mark.line] if mark and mark.line <= text.count("\n") else ""
        if "${" in line and "flow" in str(error.context):
            return Problem(where, "", "a variable within [ ] or { } needs quotes", 'write "${NAME}"')
        if isinstance(error, _TooMuch):
            return Problem(where, "", f"has {error.problem}", "a manifest is a page or two; is this the right file?")
        said = " ".join(part for part in (error.context, error.problem) if part)
        for pattern, message, hint in _MEANING:
            if re.search(pattern, said):
                return Problem(where, "", message, hint)
        return Problem(where, "", f"is not YAML: {said}")

    def _place(self, node: yaml.Node) -> Position:
        return Position(self.name, node.start_mark.line + 1)

    def _refuse(self, node: yaml.Node, message: str, hint: str = "") -> None:
        self.problems.append(Problem(str(self._place(node)), "", message, hint))

    def _node(self, node: yaml.Node, depth: int) -> Node:
        self.values += 1
        # An alias is one node in many places, or even inside itself: what counts is what it unfolds to.
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            raise _Stop(Problem(str(self._place(node)), "", f"aliases unfold to more than {MAX_VALUES} values"))
        if isinstance(node, yaml.MappingNode):
            return self._table(node, depth + 1)
        if isinstance(node, yaml.SequenceNode):
            return Items(self._place(node), tuple(self._node(item, depth + 1) for item in node.value))
        return self._scalar(node)

    def _scalar(self, node: Any) -> Scalar:
        text = str(node.value)
        if "\0" in text:
            self._refuse(node, "a value has a NUL character in it", "remove \\0")
            text = text.replace("\0", "")
        try:  # JSON writes characters beyond U+FFFF as two halves
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._refuse(node, "a value has half of a surrogate pair in it", "write the character itself")
            text = text.encode("utf-8", "ignore").decode()
        return Scalar(self._place(node), text, node.style is None, text)

    def _table(self, node: yaml.MappingNode, depth: int) -> Table:
        entries: dict[str, Node] = {}
        keys: dict[str, Position] = {}
        merged: list[Table] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self._refuse(key, "a key must be text, not a list or a mapping")
            elif key.value == "<<" and key.style is None:
                merged += self._merged(value, depth)
            elif key.value in entries:
                hint = f"it is on line {keys[key.value].line} too; remove one"
                self._refuse(key, f"the key {key.value!r} is given twice", hint)
            else:
                name = self._scalar(key).text
                entries[name], keys[name] = self._node(value, depth), self._place(key)
        for other in merged:  # what is written here wins over what is merged in, and earlier over later
            entries = {**other.entries, **entries}
            keys = {**other.keys, **keys}
        return Table(self._place(node), entries, keys)

    def _merged(self, node: yaml.Node, depth: int) -> list[Table]:
        sources = node.value if isinstance(node, yaml.SequenceNode) else [node]
        tables = [self._node(source, depth) for source in sources]
        if not all(isinstance(table, Table) for table in tables):
            self._refuse(node, "`<<` takes a mapping or a list of mappings", "e.g. <<: *defaults")
        return [table for table in tables if isinstance(table, Table)]

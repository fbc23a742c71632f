"""The documents as data: fenced blocks, links, headings, command lines."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = sorted((*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md")))
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|`[^`]*`)*\]\((?P<target>[^)\s]+)\)|!\[[^\]]*\]\((?P<image>[^)\s]+)\)")
_SPAN = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, the words after it, its text, its line."""

    language: str
    marks: frozenset[str]
    text: str
    line: int


@dataclass(frozen=True)
class Command:
    """A command of a console block and the lines that are promised after it."""

    text: str
    promised: tuple[str, ...]
    line: int


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        language, *marks = match["info"].split() or [""]
        yield Block(language, frozenset(marks), textwrap.dedent(match["text"]), text.count("\n", 0, match.start()) + 1)


def commands(block: Block) -> Iterator[Command]:
    """Read `$ command` with its `> ` continuations, and what is promised after it."""
    asked: list[str] = []
    promised: list[str] = []
    began = block.line
    for number, line in enumerate(block.text.splitlines(), block.line + 1):
        if line.startswith("$ "):
            if asked:
                yield Command("\n".join(asked), tuple(promised), began)
            asked, promised, began = [line[2:]], [], number
        elif line == ">" or line.startswith("> "):
            asked.append(line[2:])
        elif line.strip():
            promised.append(line)
    if asked:
        yield Command("\n".join(asked), tuple(promised), began)


def prose(document: Path) -> str:
    """Return the text without its fenced blocks."""
    return _FENCE.sub("", document.read_text(encoding="utf-8"))


def links(document: Path) -> Iterator[str]:
    for match in _LINK.finditer(prose(document)):
        yield match["target"] or match["image"]


def anchors(document: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub names them."""
    found: set[str] = set()
    for line in prose(document).splitlines():
        if line.startswith("#"):
            title = re.sub(r"[`*]", "", line.lstrip("#").strip()).lower()
            found.add(re.sub(r"[^\w\- ]", "", title).replace(" ", "-"))
    return found


def command_lines(document: Path) -> Iterator[str]:
    """Yield each `deploy …` of the document: in consoles, in indented blocks, and in running text."""
    for block in blocks(document):
        if block.language == "console":
            for command in commands(block):
                yield from _deploys(command.text.splitlines()[0])
    text = prose(document)
    for line in text.splitlines():
        if line.startswith("    "):
            yield from _deploys(line.strip())
    for span in _SPAN.findall(re.sub(r"^ {4}.*$", "", text, flags=re.MULTILINE)):
        yield from _deploys(span)


def _deploys(line: str) -> Iterator[str]:
    """Find the calls of `deploy` in a line of shell."""
    for part in re.split(r"\||&&|;|(?<=\s)#", line):
        words = re.sub(r"^(?:[A-Z_]+=\S* )+", "", part.strip())
        if re.match(r"deploy(?: |$)", words):
            yield words

"""Strategies as commands, found by name only: listing them runs none of their code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from deployer.cli.command_entry import CommandEntry
from deployer.core.plugins import STRATEGIES, installed
from deployer.core.resources import builtin

NAME = re.compile(r"[a-z][a-z0-9_-]*")
TARGET = "deployer.cli.deploy:strategy"  # called with the name
_DOCSTRING = re.compile(r'\A(?:\s*#[^\n]*\n)*\s*r?"""\s*(?P<first>[^\n]+?)\s*(?:"""|\n|\Z)')


def extra_commands() -> dict[str, CommandEntry]:
    """Return a command for each strategy: of this folder first, then installed ones, then the built-in ones."""
    found: dict[str, CommandEntry] = {}
    for name, help_text in (*_folder(Path("strategies")), *_installed(), *_folder(builtin("strategies"))):
        found.setdefault(name, CommandEntry("Deploy", help_text, TARGET))
    return dict(sorted(found.items()))


def builtin_commands() -> dict[str, CommandEntry]:
    """Return a command for each strategy that comes with the deployer."""
    return {name: CommandEntry("Deploy", help_text, TARGET) for name, help_text in _folder(builtin("strategies"))}


def _folder(folder: Path) -> Iterator[tuple[str, str]]:
    try:
        files = sorted(folder.glob("*.py"))
    except OSError:
        return  # a folder that cannot be read has no strategies
    for file in files:
        if NAME.fullmatch(file.stem):
            yield file.stem, _first_sentence(file)


def _installed() -> Iterator[tuple[str, str]]:
    for point in installed(STRATEGIES):
        if NAME.fullmatch(point.name):
            yield point.name, f"Strategy of {point.dist.name}" if point.dist else "An installed strategy"


def _first_sentence(file: Path) -> str:
    """Read the first line of the docstring, without running the file."""
    try:
        with file.open(encoding="utf-8") as text:
            head = _DOCSTRING.match(text.read(4096))
    except (OSError, UnicodeDecodeError):
        head = None  # calling the strategy says what is wrong with it
    return head["first"].rstrip(".") if head else f"Strategy of {file.parent.name}/{file.name}"

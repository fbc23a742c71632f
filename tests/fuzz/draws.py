"""Choices made of bytes: a generator of structures is steered by whoever mutates the bytes."""

from __future__ import annotations

import re
import re._constants as sre
import re._parser as parser
from functools import cache
from random import Random
from typing import Any

MOST = 70  # repetitions of what may be repeated without end

# What breaks out of a line, a quote, a path, a template, a header or a terminal, if nobody minds it.
HOSTILE = (
    "\n",
    "\r\n  bind :1",
    "\0",
    '"',
    "'",
    "\\",
    " ",
    "\t",
    "#",
    "$",
    "$HOME",
    "${X}",
    "%",
    "%[src]",
    "%[env(HOME)]",
    "{{ 1 }}",
    "{% x %}",
    "{version}",
    "..",
    "/../",
    "//",
    "-f",
    "-i",
    "--",
    "|",
    ",",
    ";",
    "`id`",
    "$(id)",
    "<b>",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202e",
    "\ufeff",
    "\u200b",
    "\u212a",  # the Kelvin sign: lower() makes a k of it
    "\u0130",  # lower() makes two characters of it
    "\u0661",  # a digit, though not one of ours
    "²",
    "ß",
    "é",
    "💥",
    "\ud800",
    "a" * 300,
    "1" * 400,
    "'; drop table releases; --",
    "[",
    "]",
    "!",
    "*",
    "&",
)


class Bytes(Random):
    """Random numbers that are the bytes of an input; zeros once it is at its end, so that the rest is simple."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        super().__init__(0)

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        chunk = self._data[self._at : self._at + size]
        self._at += size
        return int.from_bytes(chunk.ljust(size, b"\0"), "big") & ((1 << k) - 1)

    def random(self) -> float:
        return self.getrandbits(16) / (1 << 16)


def chance(draw: Random, probability: float) -> bool:
    """True with a probability; false when nothing is left to draw from."""
    return draw.random() >= 1 - probability


def spoilt(draw: Random, text: str) -> str:
    """Put something hostile into a text, or in its place."""
    piece = draw.choice(HOSTILE)
    at = draw.randint(0, min(len(text), 255))
    return draw.choice((text[:at] + piece + text[at:], piece + text, text + piece, piece, text[:at]))


def written(draw: Random, pattern: str) -> str:
    """Write a text that a pattern matches."""
    return "".join(_pieces(draw, _parsed(pattern)))


@cache
def _parsed(pattern: str) -> Any:
    return parser.parse(pattern, re.ASCII)


def _pieces(draw: Random, nodes: Any) -> list[str]:
    return [piece for kind, value in nodes for piece in _piece(draw, kind, value)]


def _piece(draw: Random, kind: Any, value: Any) -> list[str]:
    match kind:
        case sre.LITERAL:
            return [chr(value)]
        case sre.NOT_LITERAL:
            return [draw.choice([c for c in map(chr, range(32, 127)) if c != chr(value)])]
        case sre.IN:
            return [_member(draw, value)]
        case sre.ANY:
            return [chr(draw.randint(32, 126))]
        case sre.BRANCH:
            return _pieces(draw, draw.choice(value[1]))
        case sre.SUBPATTERN:
            return _pieces(draw, value[3])
        case sre.MAX_REPEAT:
            low, high, nodes = value
            return [p for _ in range(_times(draw, low, min(high, low + MOST))) for p in _pieces(draw, nodes)]
        case sre.AT:
            return []
    raise NotImplementedError(f"{kind} in a pattern of the manifest; teach draws.py to write it")


def _times(draw: Random, low: int, high: int) -> int:
    """A number of repetitions: mostly few, sometimes all."""
    return draw.choice((low, draw.randint(low, min(high, low + 4)), draw.randint(low, min(high, low + 4)), high))


def _member(draw: Random, members: Any) -> str:
    negated = members[0][0] is sre.NEGATE
    allowed = [span for kind, value in members[negated:] for span in _spans(kind, value)]
    if not negated:
        low, high = draw.choice(allowed)
        return chr(draw.randint(low, high))
    outside = [*range(32, 127), 0x7F, 0x85, 0xE9, 0x2028, 0x202E, 0x212A, 0x1F4A5]
    return chr(draw.choice([c for c in outside if not any(low <= c <= high for low, high in allowed)]))


def _spans(kind: Any, value: Any) -> list[tuple[int, int]]:
    match kind:
        case sre.LITERAL:
            return [(value, value)]
        case sre.RANGE:
            return [value]
        case sre.CATEGORY:
            return _CATEGORIES[value]
    raise NotImplementedError(f"{kind} in a class of a pattern; teach draws.py to write it")


_CATEGORIES = {
    sre.CATEGORY_SPACE: [(9, 13), (32, 32)],
    sre.CATEGORY_NOT_SPACE: [(33, 126), (0xE9, 0xE9), (0x202E, 0x202E)],
    sre.CATEGORY_DIGIT: [(48, 57)],
    sre.CATEGORY_WORD: [(48, 57), (65, 90), (97, 122), (95, 95)],
}

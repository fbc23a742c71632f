"""Secret text: a value that never shows itself, and is taken out of what others say.

Whatever was a secret once in this process is hidden from texts that come from outside: an instance may log its password
before it ends, a server may repeat the header that it refuses, an exception may quote its argument. A value is found as
it is, as JSON and URLs quote it, and line by line; one with fewer than 6 characters is not looked for, nor a line with
fewer than 16: that would also hide words that are none.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

HIDDEN = "***"
SHORTEST, SHORTEST_LINE = 6, 16  # characters
_mutex = threading.Lock()
_pieces: tuple[str, ...] = ()  # of all secrets of this process, the longest first


class SecretText:
    """A secret value: it never shows itself, only `reveal` gives it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value
        _remember(value)

    def reveal(self) -> str:
        """Return the value, for the one place that needs it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretText) and self._value == other._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return HIDDEN

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret is neither copied nor written down")


def hide(text: str) -> str:
    """Return a text without the secrets that are known to this process."""
    for piece in _pieces:
        if piece in text:
            text = text.replace(piece, HIDDEN)
    return text


def hide_in(data: Any) -> Any:
    """Return plain data with all its texts so; names of fields stay."""
    if not _pieces:
        return data
    if isinstance(data, str):
        return hide(data)
    if isinstance(data, Mapping):
        return {key: hide_in(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return [hide_in(item) for item in data]
    return data


def _remember(value: str) -> None:
    global _pieces  # what was a secret once stays one
    fresh = set(_forms(value))
    with _mutex:
        if not fresh <= set(_pieces):
            _pieces = tuple(sorted({*_pieces, *fresh}, key=len, reverse=True))


def _forms(value: str) -> Iterator[str]:
    whole = value.strip()
    if len(whole) >= SHORTEST:
        yield from (
            whole,
            json.dumps(whole)[1:-1],
            quote(whole, errors="replace"),
            quote(whole, safe="", errors="replace"),
        )
    yield from (line for line in map(str.strip, whole.splitlines()) if len(line) >= SHORTEST_LINE)

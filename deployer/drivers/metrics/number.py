"""One number out of a text: a bare number, or the place in a JSON document that a path leads to."""

from __future__ import annotations

import json
import math
from typing import Any

_SHOWN = 80  # characters of an answer that are repeated


class Unreadable(Exception):
    """An answer that is not what was asked for; the text says what it is."""


def finite(value: Any) -> float | None:
    """Return the number that a value is, or is written as; None for NaN and infinity, which say that nothing was seen.

    Raises Unreadable for anything else.
    """
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        if isinstance(value, str) and ("_" in value or not value.isascii()):
            raise ValueError  # numbers to Python only
        number = float(value)
    except (ValueError, OverflowError):
        raise Unreadable(f"{brief(value)} is not a number") from None
    return number if math.isfinite(number) else None


def number_in(text: str, path: str | None) -> float | None:
    """Return the number of a text, at `path` (RFC 9535) if it is JSON; None when there is none: null, or nothing there.

    Raises Unreadable when it is no JSON, when the path leads to several values, or to something else than a number.
    """
    if path is None:
        return finite(text.strip()) if text.strip() else None
    found = _at(path, document(text))
    if len(found) > 1:
        raise Unreadable(f"{path} leads to {len(found)} values, one is needed")
    return None if not found or found[0] is None else finite(found[0])


def document(text: str) -> Any:
    """Read JSON. Raises Unreadable when it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(f"the response is not JSON: {brief(text)}") from None


def _at(path: str, data: Any) -> list[Any]:
    from jsonpath import JSONPathEnvironment, JSONPathError

    whole = None if isinstance(data, str) else data  # the library would read a text as one more document
    try:
        found = JSONPathEnvironment(strict=True).findall(path, whole)
        return [data for _ in found] if isinstance(data, str) else found  # a path leads into a text nowhere but to it
    except (JSONPathError, RecursionError) as error:
        raise Unreadable(f"{path}: {str(error).partition(chr(10))[0]}") from error


def brief(value: Any) -> str:
    """Repeat the beginning of what came, on one line."""
    text = "".join(c if c.isprintable() else " " for c in str(value)).strip()
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")

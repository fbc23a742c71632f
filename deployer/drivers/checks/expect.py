"""Compares an answer with what was expected; gives sentences for people."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.drivers.checks.statuses import Statuses
from deployer.transport.http import MOST, Response

_SHOWN = 200  # characters of a body in a message


def mismatch(answer: Response, statuses: Statuses, body: str | None, headers: Mapping[str, str]) -> str:
    """Return the first thing that differs, "" when nothing does."""
    if answer.status not in statuses:
        return f"HTTP {answer.status}, expected {statuses}"
    for name, wanted in headers.items():
        seen = answer.headers.get_all(name) or []
        if wanted not in seen:
            return f"header {name} is {', '.join(map(repr, seen)) or 'missing'}, expected {wanted!r}"
    if body is not None and body not in answer.body:
        where = f"the body ({len(answer.body)} characters)" if len(answer.body) < MOST else "the first MiB of the body"
        return f"{body!r} is not in {where}"
    return ""


def beginning(text: str) -> str:
    """Return the first characters of a body on one line, without what a terminal would obey."""
    shown = " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * _SHOWN]).split())
    return shown[:_SHOWN] + ("…" if len(shown) > _SHOWN else "")

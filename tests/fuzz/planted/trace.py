"""A trace."""

from __future__ import annotations


def check(data: bytes) -> None:
    if data.startswith(b"!!"):
        1 / 0  # noqa: B018

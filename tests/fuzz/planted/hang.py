"""An input that is never done with."""

from __future__ import annotations

HANG = 2


def check(data: bytes) -> None:
    while data.startswith(b"!!"):
        pass

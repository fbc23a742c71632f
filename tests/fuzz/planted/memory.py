"""An input that takes all memory there is."""

from __future__ import annotations


def check(data: bytes) -> None:
    if data.startswith(b"!!"):
        hoard: list[bytearray] = []
        while len(hoard) < 100:
            hoard.append(bytearray(b"x" * 2**24))

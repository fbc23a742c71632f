"""What is looked at again and again has the same trouble again and again: it is said once."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class SaidOnce(Generic[K]):
    """Keeps what was said last about each thing."""

    def __init__(self) -> None:
        self._said: dict[K, str] = {}

    def is_new(self, about: K, text: str) -> bool:
        """Return whether a text is to be said: another one was said about the thing before, or it was settled since."""
        first = text.partition("\n")[0]  # the trace of the same bug may be another one
        known, self._said[about] = self._said.get(about), first
        return known != first

    def settle(self, about: K) -> None:
        """Have the next text about a thing said in any case."""
        self._said.pop(about, None)

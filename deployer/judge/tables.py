"""The bets in force, by the probability of the coin: made when first needed, forgotten when what shaped them moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Entry = TypeVar("Entry")
_MOST = 64  # probabilities kept: sticky clients that were thrown before bring a few of their own with each share


class Tables(Generic[Entry]):
    """Bets of all bettors, by probability."""

    def __init__(self) -> None:
        self._by_p: dict[float, tuple[Entry, ...]] = {}

    def at(self, p: float, make: Callable[[], tuple[Entry, ...]]) -> tuple[Entry, ...]:
        """Return the bets for `p`, made if there are none yet."""
        if p not in self._by_p:
            if len(self._by_p) >= _MOST:
                self._by_p.clear()
            self._by_p[p] = make()
        return self._by_p[p]

    def clear(self) -> None:
        """Forget all bets."""
        self._by_p.clear()

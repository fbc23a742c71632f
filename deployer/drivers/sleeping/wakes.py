"""What became of starts by requests: a short list for each service, beside the proxy."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deployer.core import files
from deployer.drivers.ports.sleeping import Wake

KEPT = 20  # newest starts
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0  # after a start that failed, doubled each time


class Wakes:
    """The starts of one service, and the pause after those `of` a release that failed: another one begins without."""

    def __init__(self, folder: Path, service: str, of: str = "") -> None:
        self._of = of
        self._path = folder / f"{service}.wakes.json"

    def all(self) -> tuple[Wake, ...]:
        """Return the newest, the oldest first; none of a file that cannot be read: nothing depends on them."""
        try:
            return tuple(Wake(**one) for one in json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return ()

    def add(self, times: Sequence[float], error: str) -> Wake:
        """Write down what became of a start: when it began, was started, was healthy and had its requests."""
        began, ended = times[0], times[-1]
        start, health = (times[1] - began, times[2] - times[1]) if len(times) > 3 else (0.0, 0.0)
        before = self.all()
        failed = (before[-1].failed if before and before[-1].of == self._of else 0) + 1 if error else 0
        pause = min(FIRST_SECONDS * 2.0 ** (failed - 1), MOST_SECONDS) if error else 0.0
        wake = Wake(ended, ended - began, start, health, error, failed, ended + pause if error else 0.0, self._of)
        files.replace(self._path, json.dumps([asdict(one) for one in (*before, wake)[-KEPT:]]))
        return wake

    def rests_for(self, now: float) -> float:
        """Return for how many seconds no start is tried."""
        before = self.all()
        if not before or before[-1].of != self._of:
            return 0.0
        return min(max(0.0, before[-1].next - now), MOST_SECONDS)

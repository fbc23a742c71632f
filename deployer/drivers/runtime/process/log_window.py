"""How many lines of a log that match a pattern came lately: the lines bear no time, so each look counts what is new."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from deployer.drivers.runtime.log_lines import found_in

MOST = 64 * 1024 * 1024  # bytes that one look reads


@dataclass
class LogWindow:
    """One log and one pattern: up to where it was read, and what came at each look."""

    offset: int
    looks: deque[tuple[float, int]] = field(default_factory=deque)

    @classmethod
    def begin(cls, log: Path, *, fresh: bool) -> LogWindow:
        """Begin with the whole log of an instance that is `fresh`, at the end of any other."""
        return cls(0 if fresh else _size(log))

    def count(self, log: Path, pattern: re.Pattern[str], seconds: float, now: float) -> int:
        """Read what is new, and return how many lines of the last seconds match. Raise OSError."""
        found = 0
        if _size(log) < self.offset:  # it was rotated: what was not read yet is in the one before
            found += self._read(log.with_name(f"{log.name}.1"), pattern)
            self.offset = 0
        found += self._read(log, pattern)
        self.looks.append((now, found))
        while self.looks and self.looks[0][0] <= now - seconds:
            self.looks.popleft()
        return sum(number for _, number in self.looks)

    def _read(self, log: Path, pattern: re.Pattern[str]) -> int:
        try:
            with log.open("rb") as file:
                file.seek(self.offset)
                text = file.read(MOST)
        except FileNotFoundError:
            return 0
        whole, ending, _ = text.rpartition(b"\n")  # the last line may not be whole yet
        self.offset += len(whole) + len(ending)
        return sum(found_in(line, pattern) for line in whole.split(b"\n")) if ending else 0


def _size(log: Path) -> int:
    try:
        return log.stat().st_size
    except FileNotFoundError:
        return 0

"""Lines of logs in which a pattern is found."""

from __future__ import annotations

import re
from collections.abc import Iterable

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed

LONGEST = 4096  # bytes of a line that are searched


def found_in(line: bytes, pattern: re.Pattern[str]) -> bool:
    """Return whether a pattern is found in a line."""
    return pattern.search(line[:LONGEST].decode("utf-8", "replace")) is not None


def count(stream: Iterable[bytes], pattern: re.Pattern[str], deadline: Deadline) -> int:
    """Return in how many lines of a stream the pattern is found; nothing of it is kept. Raise DeadlinePassed."""
    found, rest = 0, b""
    for part in stream:
        if deadline.passed():
            raise DeadlinePassed(f"the log was not read within {deadline.seconds:g} s")
        *whole, rest = (rest + part).split(b"\n")
        found += sum(found_in(line, pattern) for line in whole)
        rest = rest[:LONGEST]
    return found + bool(rest and found_in(rest, pattern))

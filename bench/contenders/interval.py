"""Counts of many looks as one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

from deployer.model import Counts


def total(parts: Sequence[Counts], *, times: bool = True) -> Counts:
    """Add counts up, all at once; without their answer times if `times` is false."""
    latency = zip_longest(*(part.latency for part in parts), fillvalue=0) if times else ()
    return Counts(sum(p.requests for p in parts), sum(p.errors for p in parts), tuple(map(sum, latency)))

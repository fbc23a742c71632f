"""Which HTTP statuses pass: the expression `200,301-399` of `health.status` and `smoke.expect`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"(\d{3})(?:-(\d{3}))?")


@dataclass(frozen=True)
class Statuses:
    """A set of HTTP statuses, as ranges that include both ends."""

    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def parse(cls, text: str) -> Statuses:
        """Read the expression. Raises ValueError, naming the part that is reversed or no status."""
        return cls(tuple(_range(part.strip()) for part in text.split(",")))

    def __contains__(self, status: int) -> bool:
        return any(low <= status <= high for low, high in self.ranges)

    def __str__(self) -> str:
        return ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in self.ranges)


def _range(part: str) -> tuple[int, int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise ValueError(f"{part!r} is not a status; write 200 or a range like 200-399")
    low, high = int(match[1]), int(match[2] or match[1])
    if low > high:
        raise ValueError(f"the range {part} is reversed; write {high}-{low}")
    if low < 100 or high > 599:
        raise ValueError(f"{part} is outside 100-599, the statuses of HTTP")
    return low, high

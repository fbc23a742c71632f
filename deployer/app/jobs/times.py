"""Which due time of a job is to be dealt with now. Pure: the clock and what was dealt with are arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from deployer.core import cron


@dataclass(frozen=True)
class Schedule:
    """When a job runs, and how late it may be."""

    cron: str
    timezone: str
    late: float

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """Read it from a job as its release recorded it."""
        return cls(record["cron"], record["timezone"], float(record["late"]))

    @property
    def key(self) -> str:
        """Text that is another one for other due times."""
        return f"{self.cron} {self.timezone}"

    def next(self, after: float) -> float:
        """Return the first due time after a moment."""
        return cron.next_time(self.cron, self.timezone, after)


@dataclass(frozen=True)
class Due:
    """The due time `at` is to be dealt with, and with it all up to `until`: run it, or with `missed` leave it out."""

    at: float
    until: float
    missed: bool = False


def due(schedule: Schedule, since: float, now: float) -> Due | None:
    """Return what is due, when all up to `since` was dealt with; None while nothing is.

    Of several due times that nothing ran, the last one is run, once, unless it is over for longer than `late`.
    """
    first = schedule.next(since)
    if first > now:
        return None
    latest = 0.0
    at = schedule.next(max(since, now - schedule.late))
    while at <= now:
        latest, at = at, schedule.next(at)
    return Due(latest, latest) if latest else Due(first, now, missed=True)

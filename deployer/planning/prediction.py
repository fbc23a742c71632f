"""What load is usual at this hour of the week, by former weeks, so that instances are there before it comes. Pure.

It only adds: what the load needs now is there whatever was usual, and what is usual is not removed meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from deployer.core import cron
from deployer.model.load import SLOT_SECONDS
from deployer.planning.scaling import MARGIN_DOWN, WantedSize, counted, enough

if TYPE_CHECKING:
    from deployer.manifest.scale import ScaleSettings

WEEKS = 4  # that are looked at
LEAST_WEEKS = 2  # that must be known: once is not usual

Seen = Callable[[float], float | None]  # requests at once in the five minutes from a moment on; None: not known


@dataclass(frozen=True)
class UsualLoad:
    """So many `requests` at once are usual in the five minutes from a moment on (`at`), by a clock on the wall."""

    requests: float
    at: float
    timezone: str

    @property
    def text(self) -> str:
        """Return how many, and when."""
        when = datetime.fromtimestamp(self.at, cron.zone(self.timezone))
        return f"{counted(self.requests)} at once on {when:%A}s at {when:%H:%M} {self.timezone}"

    def instances(self, settings: ScaleSettings) -> int:
        """Return how many instances are not removed under such a load."""
        return settings.within(enough(self.requests, MARGIN_DOWN, settings.each))


def usual_load(now: float, lead: float, timezone: str, seen: Seen) -> UsualLoad | None:
    """Return the highest usual load from now until `lead` seconds later; None where too little is known.

    The usual one of five minutes is the median of the same five minutes, by the clock on the wall, of the weeks that
    are known, the lower one of two: no single week can raise it. Raise Refused for a timezone this host does not have.
    """
    found = list[UsualLoad]()
    for at in _slots(now, lead):
        known = [requests for then in _former(at, timezone) if (requests := seen(then)) is not None]
        if len(known) >= LEAST_WEEKS:
            found.append(UsualLoad(sorted(known)[(len(known) - 1) // 2], at, timezone))
    return max(found, key=lambda usual: usual.requests, default=None)


def predicted(wanted: WantedSize, usual: UsualLoad | None, settings: ScaleSettings) -> WantedSize:
    """Return what the load wants, or more for what is usual."""
    if usual is None or usual.instances(settings) <= wanted.instances:
        return wanted
    return WantedSize(usual.instances(settings), f"usual are {usual.text}")


def _slots(now: float, lead: float) -> Iterator[float]:
    """Yield the beginnings of the five minutes that now is in, and of those until `lead` seconds later."""
    begins = now // SLOT_SECONDS * SLOT_SECONDS
    for place in range(1 + math.ceil(lead / SLOT_SECONDS)):
        yield begins + place * SLOT_SECONDS


def _former(at: float, timezone: str) -> Iterator[float]:
    """Yield the same moment of former weeks, whatever the clocks did in between."""
    here = datetime.fromtimestamp(at, cron.zone(timezone))
    for week in range(1, WEEKS + 1):
        yield (here - timedelta(weeks=week)).timestamp()

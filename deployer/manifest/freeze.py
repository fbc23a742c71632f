"""Freeze windows: spans of local time in which no rollout may start.

A window is weekly (`Fri 16:00-Mon 08:00`) or daily (`22:00-06:00`); it begins at its first minute and is over at its
last one. It is read as the clock on the wall shows it, so it moves with daylight saving time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY = 24 * 60
WEEK = 7 * DAY
_MINUTE = timedelta(minutes=1)
_WINDOW = re.compile(r"(?:(\w{3}) )?(\d\d):(\d\d)-(?:(\w{3}) )?(\d\d):(\d\d)", re.ASCII)


@dataclass(frozen=True)
class Window:
    """A span that repeats every `period` minutes, from `start` to just before `end` (both below `period`)."""

    start: int
    end: int
    period: int

    def covers(self, local: datetime) -> bool:
        """Return whether the wall clock runs in the window."""
        minute = (local.weekday() * DAY + local.hour * 60 + local.minute) % self.period
        return (minute - self.start) % self.period < (self.end - self.start) % self.period


def parse(text: str) -> Window:
    """Read a window as it is written in the manifest.

    Raises ValueError, saying in words what is wrong.
    """
    match = _WINDOW.fullmatch(text)
    if match is None:
        raise ValueError("it needs two times joined by a hyphen")
    first, last = match[1], match[4]
    if bool(first) != bool(last):
        raise ValueError("give both ends a weekday, or none")
    if any(day not in DAYS for day in (first, last) if day):
        raise ValueError(f"weekdays are {', '.join(DAYS)}")
    start = _minute(first, match[2], match[3])
    end = _minute(last, match[5], match[6])
    if start == end:
        raise ValueError("it begins and ends at the same minute")
    return Window(start, end, WEEK if first else DAY)


def _minute(day: str | None, hour: str, minute: str) -> int:
    if int(hour) > 23 or int(minute) > 59:
        raise ValueError("times go from 00:00 to 23:59")
    return (DAYS.index(day) * DAY if day else 0) + int(hour) * 60 + int(minute)


def frozen_until(windows: Sequence[str], at: datetime) -> datetime | None:
    """Return the first minute after `at` in which a rollout may start, None when it may start now.

    `at` must carry its time zone; the answer carries the same. Windows that touch count as one. When the windows leave
    no gap at all the answer is eight days away. Raises ValueError for a naive time or a bad window.
    """
    zone = at.tzinfo
    if zone is None:
        raise ValueError("a freeze window is asked for a time without a time zone")
    spans = [parse(window) for window in windows]

    def frozen(moment: datetime) -> bool:
        local = moment.astimezone(zone)
        return any(span.covers(local) for span in spans)

    moment = at.astimezone(UTC)
    if not frozen(moment):
        return None
    # A week has 10,080 minutes: asking each of them is simpler than to get the changes of the clock right.
    moment = moment.replace(second=0, microsecond=0)
    for _ in range(WEEK + DAY):
        moment += _MINUTE
        if not frozen(moment):
            break
    return moment.astimezone(zone)


def local_time(seconds: float) -> datetime:
    """Return a Unix time as the wall clock of this host shows it, with a zone that knows its changes."""
    return datetime.fromtimestamp(seconds, local_zone())


def local_zone(environ: Mapping[str, str] | None = None, file: Path = Path("/etc/localtime")) -> tzinfo:
    """Return the time zone of this host: TZ (a name or a file), else /etc/localtime, else what the C library says."""
    named = (os.environ if environ is None else environ).get("TZ", "").removeprefix(":")
    if named.startswith("/"):
        file = Path(named)
    elif named:
        with suppress(ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(named)
        return _now_here()
    try:
        with file.open("rb") as data:
            return ZoneInfo.from_file(data, key=str(file))
    except (OSError, ValueError):
        return _now_here()


def _now_here() -> tzinfo:
    """Return the offset that holds now; the C library tells no more."""
    return datetime.now().astimezone().tzinfo or UTC

"""Cron expressions: when something is due. Read by cronsim, which treats daylight saving time as Debian's cron does.

What is to run at a fixed time of day runs once a day, whatever the clocks do: a time that is skipped in spring is due
at the end of the gap, one that comes twice in autumn is due the first time.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from deployer.core.errors import Refused

if TYPE_CHECKING:
    from cronsim import CronSim

FIELDS = 5
NICKNAMES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}


def mistake(cron: str) -> str:
    """Return why a text is no cron expression, or "" for one that is."""
    from cronsim import CronSimError

    text = NICKNAMES.get(cron, cron)
    if cron.startswith("@") and cron not in NICKNAMES:
        return f"{cron} is none of {', '.join(NICKNAMES)}"
    if (count := len(text.split())) != FIELDS:
        return f"it has {count} fields, not 5"
    try:
        next(_times(text, datetime(2024, 1, 1, tzinfo=UTC)))
    except CronSimError as error:
        return str(error).replace("Bad ", "wrong ")
    except StopIteration:
        return "there is no such day in any year"
    return ""


def unknown_timezone(name: str) -> str:
    """Return why a name is no timezone of this host, or "" for one that is."""
    try:
        _zone(name)
    except (KeyError, ValueError, OSError):  # not there; no name of one; a folder of them
        return "this host has no such timezone"
    return ""


def next_time(cron: str, timezone: str, after: float) -> float:
    """Return the first time after a moment at which an expression is due, as Unix seconds.

    Raise Refused for a timezone that this host does not have any more.
    """
    times = _times(NICKNAMES.get(cron, cron), datetime.fromtimestamp(after, zone(timezone)))
    while (found := next(times).timestamp()) <= after:
        pass  # an hour that comes twice: this is a time of its first half, which is over
    return found


def zone(name: str) -> tzinfo:
    """Return a timezone. Raise Refused for one that this host does not have any more."""
    if unknown := unknown_timezone(name):
        raise Refused(f"{name}: {unknown}", "install tzdata (Debian has old names in tzdata-legacy)")
    return _zone(name)


def _zone(name: str) -> tzinfo:
    return UTC if name == "UTC" else ZoneInfo(name)  # this one is there without the timezones of the system


def _times(text: str, start: datetime) -> CronSim:
    from cronsim import CronSim

    return CronSim(text, start)

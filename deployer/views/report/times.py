"""Times in pages: right as they stand, and in the viewer's time zone where a script may run."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from deployer.views.report.markup import Markup, tag, text
from deployer.views.text import ago as written_ago
from deployer.views.text import moment, zone

Shows = Literal["date", "clock", "ago"]


def date(at: float) -> Markup:
    """Write a moment with its date."""
    return _time(at, "date", moment(at))


def clock(at: float) -> Markup:
    """Write a moment of a day that is known."""
    return _time(at, "clock", moment(at)[11:])


def ago(at: float, now: float) -> Markup:
    """Write how long ago a moment was."""
    return _time(at, "ago", written_ago(now - at))


def _time(at: float, shows: Shows, written: str) -> Markup:
    """Write a time for people and for the script, which has the zone of the viewer; its title always has all of it."""
    if not at:
        return text("–")
    machine = datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return tag("time", written, datetime=machine, title=f"{moment(at)} {zone(at)}", data_shows=shows)

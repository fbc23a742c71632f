"""When a job runs, from the ways in which schedulers of containers write it, as a cron expression of five fields.

Each function raises ValueError, with the reason, for times that such an expression cannot have.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployer.core import cron

_SAME = {"@midnight": "@daily", "@annually": "@yearly"}
_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_WORDS = {"weekly": 7 * _DAY, "daily": _DAY, "hourly": _HOUR, "every minute": _MINUTE, "every second": 1}
_WHOLE = "a job begins at a full minute"


@dataclass(frozen=True)
class JobTimes:
    """A cron expression, its timezone where one is given, and what was changed."""

    cron: str
    timezone: str = ""
    changed: str = ""


def of_go(text: str) -> JobTimes:
    """Read what Go's cron reads: five fields, six with seconds first, `@every 1h`, `CRON_TZ=` before it."""
    zone, fields = "", text.split()
    if fields and (found := re.fullmatch(r"(?:CRON_)?TZ=(\S+)", fields[0])):
        zone, fields = found[1], fields[1:]
    if fields[:1] == ["@every"]:
        return JobTimes(every(_duration("".join(fields[1:]))), zone)
    if len(fields) == cron.FIELDS + 1:
        return _without_seconds(fields[0], [_any(each) for each in fields[1:]], zone)
    expression = " ".join(_any(each) for each in fields)
    return JobTimes(_checked(_SAME.get(expression, expression)), zone)


def of_fields(text: str) -> JobTimes:
    """Read fields from the largest unit to seconds; those that are missing at the left are any."""
    fields = text.lower().split()
    if len(fields) > 8:
        raise ValueError(f"it has {len(fields)} fields, not 8")
    year, month, day, week, weekday, hour, minute, second = ["*"] * (8 - len(fields)) + fields
    if year != "*" or week != "*":
        raise ValueError("a cron expression has no field for the year or the week")
    if day != "*" and weekday != "*":
        raise ValueError("both a day of the month and a weekday: with cron one of them is enough")
    # Its weekdays are counted from Monday, which is 0
    weekday = weekday if "/" in weekday else re.sub(r"[0-6]", lambda found: str(int(found[0]) + 1), weekday)
    return _without_seconds(second, [minute, hour, "L" if day == "last" else day, month, weekday.upper()], "")


def of_interval(text: str) -> JobTimes:
    """Read an interval: a word, or weeks, days, hours, minutes and seconds, of which the first ones may be missing."""
    if text in _WORDS:
        return JobTimes(every(_WORDS[text]))
    numbers = re.split(r"[.:/ ]+", text.strip())
    if not all(number.isdecimal() for number in numbers) or len(numbers) > 5:
        raise ValueError(f"{text} is not an interval")
    units = (7 * _DAY, _DAY, _HOUR, _MINUTE, 1)[-len(numbers) :]
    return JobTimes(every(sum(int(number) * unit for number, unit in zip(numbers, units, strict=True))))


def every(seconds: float) -> str:
    """Return the expression of what runs again and again, so many seconds apart."""
    if seconds == 7 * _DAY:
        return "@weekly"
    for unit, inside, text in ((_DAY, 1, "@daily"), (_HOUR, 24, "0 */{} * * *"), (_MINUTE, 60, "*/{} * * * *")):
        count = seconds / unit
        if count >= 1 and count == int(count) and inside % int(count) == 0 and (count < inside or inside == 1):
            return text.format(int(count)).replace("*/1 ", "* ")
    if seconds < _MINUTE:
        raise ValueError(f"every {seconds:g} s: {_WHOLE} at the earliest")
    raise ValueError(f"every {seconds:g} s: no cron expression has this distance")


def _without_seconds(second: str, fields: list[str], zone: str) -> JobTimes:
    if not second.isdecimal():
        raise ValueError(f"several times a minute: {_WHOLE}")
    changed = f"second {second} is left out: {_WHOLE}" if int(second) else ""
    return JobTimes(_checked(" ".join(fields)), zone, changed)


def _checked(expression: str) -> str:
    if wrong := cron.mistake(expression):
        raise ValueError(wrong)
    return expression


def _any(field: str) -> str:
    return "*" if field == "?" else field


def _duration(text: str) -> float:
    if not re.fullmatch(r"(?:[0-9.]+(?:ms|s|m|h))+", text):
        raise ValueError(f"{text or 'nothing'} is not a duration")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)(ms|s|m|h)", text))

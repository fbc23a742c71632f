"""Shares and times as people read them."""

from __future__ import annotations


def percent(share: int) -> str:
    """Write basis points as a percentage: 1000 is `10%`."""
    return f"{share / 100:g}%"


def span(seconds: float) -> str:
    """Write a time as people say it: 3600 is `1 h`, 90 is `90 s`."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"


def rate(per_second: float) -> str:
    """Write how often something comes: `12 requests a second`, `3 requests a minute`."""
    units = ((1, "a second"), (60, "a minute"), (3600, "an hour"))
    seconds, name = next((unit for unit in units if per_second * unit[0] >= 0.95), units[-1])
    count = per_second * seconds
    number = f"{count:,.0f}" if count >= 10 else f"{count:.2g}"
    return f"{number} request{'s' * (number != '1')} {name}"

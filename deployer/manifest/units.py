"""Values that people write with a unit: durations, sizes, percentages, ratios."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from deployer.manifest.text import Misspelt

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31_536_000.0}
# What is waited for: more milliseconds fit in no timer of the kernel or of HAProxy. Anything else: still a date.
LONGEST_WAIT, LONGEST = 24 * _SECONDS["d"], 100 * _SECONDS["y"]
_BYTES = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_PLACES = 12  # of a percentage, behind the point
_DIGITS = r"[0-9]{1,15}(?:\.[0-9]{1,12})?"
_DURATION = re.compile(rf"({_DIGITS})(ms|[smhdwy])")


@dataclass(frozen=True)
class Unit:
    """Marks a field whose value has a unit: its name, and how a value is written."""

    name: str
    write: Callable[[float], str]


def write_seconds(value: float) -> str:
    """Write a duration: 3600 is `1h`."""
    for unit in ("y", "w", "d", "h", "m", "s"):
        if value and value % _SECONDS[unit] == 0:
            return f"{value / _SECONDS[unit]:.0f}{unit}"
    return f"{value * 1000:.12g}ms" if 0 < value < 1 else f"{value:.12g}s"


def write_size(value: float) -> str:
    """Write a number of bytes: 1048576 is `1m`."""
    for unit in ("g", "m", "k"):
        if value and value % _BYTES[unit] == 0:
            return f"{value / _BYTES[unit]:.0f}{unit}"
    return f"{value:.0f}"


def seconds(value: Any) -> float:
    """Read a duration: `30s`, `500ms`, `1h30m`, or a plain number of seconds."""
    wrong = Misspelt("a duration", "30s, 500ms, 10m, 1h30m", value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise wrong
    if isinstance(value, int | float):
        return float(value)
    parts = _DURATION.findall(value)
    if not parts or "".join(n + u for n, u in parts) != value.replace(" ", ""):
        raise wrong
    return sum(float(n) * _SECONDS[u] for n, u in parts)


def size(value: Any) -> int:
    """Read a number of bytes: `512m`, `2g`, or a plain number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return int(value)
    match = re.fullmatch(rf"({_DIGITS})\s*([kmg]?)(?:i?b)?", value.lower()) if isinstance(value, str) else None
    if not match:
        raise Misspelt("a size", "64m, 512m, 2g", value)
    return int(float(match[1]) * _BYTES[match[2]])


def per_second(text: str) -> float:
    """Read how often requests come, `20/s`, `3/min` or `100/h`, as a number a second. Raises ValueError."""
    number, _, unit = text.replace(" ", "").partition("/")
    seconds = {"s": 1, "min": 60, "m": 60, "h": 3600}.get(unit)
    if seconds is None or not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", number):
        raise ValueError(f"{text!r} is not a number of requests in a time, e.g. 20/s, 3/min or 100/h")
    return float(number) / seconds


def percent(value: Any) -> float:
    """Read a percentage into a fraction: `0.1%` is 0.001; a plain number is a percentage too."""
    return round(_number(value, "%", "a percentage", "0.5%"), _PLACES) / 100


def _write_percent(fraction: float) -> str:
    """Write a percentage so that `percent` reads exactly the same: never with an exponent."""
    return f"{fraction * 100:.{_PLACES}f}".rstrip("0").rstrip(".") + "%"


def ratio(value: Any) -> float:
    """Read a ratio: `1.5x` or a plain number."""
    return _number(value, "x", "a ratio", "1.5x")


def basis_points(value: Any) -> int:
    """Read a share of the traffic in percent (10, 0.5, `25%`) into basis points (1 bp = 0.01%)."""
    points = _number(value, "%", "a share in percent", "10 or 0.5") * 100
    if not 0 <= points <= 10000:
        raise ValueError(f"{value!r} is not between 0 and 100 percent")
    if abs(points - round(points)) > 1e-6:
        raise ValueError(f"{value!r} is finer than 0.01%, the smallest step of a share")
    return round(points)


def _number(value: Any, unit: str, what: str, example: str) -> float:
    text = value.strip().removesuffix(unit).strip() if isinstance(value, str) else value
    if isinstance(text, str) and re.fullmatch(rf"[+-]?{_DIGITS}", text):
        return float(text)
    if isinstance(text, bool) or not isinstance(text, int | float) or not math.isfinite(text):
        raise Misspelt(what, example, value)
    return float(text)


def _written(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}], "examples": [example]}
    )


Seconds = Annotated[
    float,
    Unit("duration", write_seconds),
    BeforeValidator(seconds),
    Field(ge=0, le=LONGEST),
    _written(r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d|w|y) ?)+$", "30s"),
]
Wait = Annotated[Seconds, Field(le=LONGEST_WAIT)]
Bytes = Annotated[
    int,
    Unit("size", write_size),
    BeforeValidator(size),
    Field(gt=0, le=2**50),
    _written(r"^[0-9]+(\.[0-9]+)? ?[kmgKMG]?i?[bB]?$", "512m"),
]
# Percentages are recorded as they are written, since a bare number would be read as percent again.
Percent = Annotated[
    float,
    Unit("percentage", lambda value: f"{value * 100:.6g}%"),
    BeforeValidator(percent),
    Field(ge=0, le=1),
    PlainSerializer(_write_percent, return_type=str, when_used="json"),
    _written(r"^[0-9]+(\.[0-9]+)? ?%?$", "0.1%"),
]
Ratio = Annotated[
    float,
    Unit("ratio", lambda value: f"{value:g}x"),
    BeforeValidator(ratio),
    Field(ge=1),
    _written(r"^[0-9]+(\.[0-9]+)? ?x?$", "1.5x"),
]
BasisPoints = Annotated[
    int,
    BeforeValidator(basis_points),
    PlainSerializer(lambda points: points / 100, return_type=float, when_used="json"),
    _written(r"^[0-9]+(\.[0-9]+)? ?%?$", "10"),
]

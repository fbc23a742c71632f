"""Values that people write with a unit: durations, sizes, percentages, ratios."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31_536_000.0}
_BYTES = {"": 1, "b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {what}") from None


def seconds(value: Any) -> float:
    """Read a duration: `30s`, `500ms`, `1h30m`, or a plain number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration is written like 30s, 500ms, 10m, 1h30m")
    if isinstance(value, int | float):
        return float(value)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdwy])", value)
    if not parts or "".join(n + u for n, u in parts) != value.replace(" ", ""):
        raise ValueError(f"{value!r} is not a duration; write it like 30s, 500ms, 10m, 1h30m")
    return sum(float(n) * _SECONDS[u] for n, u in parts)


def size(value: Any) -> int:
    """Read a number of bytes: `512m`, `2g`, or a plain number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([bkmg]?)b?", str(value).lower())
    if not match:
        raise ValueError(f"{value!r} is not a size; write it like 64m, 512m, 2g")
    return int(float(match[1]) * _BYTES[match[2]])


def percent(value: Any) -> float:
    """Read a percentage into a fraction: `0.1%` is 0.001; a plain number is a percentage too."""
    text = str(value).strip().removesuffix("%")
    return _number(text, "a percentage; write it like 0.5%") / 100


def ratio(value: Any) -> float:
    """Read a ratio: `1.5x` or a plain number."""
    return _number(str(value).strip().removesuffix("x"), "a ratio; write it like 1.5x")


def basis_points(value: Any) -> int:
    """Read a share of the traffic in percent (10, 0.5, `25%`) into basis points (1 bp = 0.01 %)."""
    points = _number(str(value).strip().removesuffix("%"), "a share in percent; write it like 10 or 0.5") * 100
    if abs(points - round(points)) > 1e-6:
        raise ValueError(f"{value!r} is finer than 0.01 %, the smallest step of a share")
    if not 0 <= points <= 10000:
        raise ValueError(f"{value!r} is not between 0 and 100 percent")
    return round(points)


def _written(pattern: str, example: str) -> WithJsonSchema:
    return WithJsonSchema(
        {"anyOf": [{"type": "number"}, {"type": "string", "pattern": pattern}], "examples": [example]}
    )


Seconds = Annotated[
    float,
    BeforeValidator(seconds),
    Field(ge=0),
    _written(r"^(\d+(\.\d+)?(ms|s|m|h|d|w|y))+$", "30s"),
]
Bytes = Annotated[int, BeforeValidator(size), Field(gt=0), _written(r"^\d+(\.\d+)?[bkmgBKMG]?[bB]?$", "512m")]
# Percentages are recorded as they are written, since a bare number would be read as percent again.
Percent = Annotated[
    float,
    BeforeValidator(percent),
    Field(ge=0, le=1),
    PlainSerializer(lambda fraction: f"{fraction * 100:.12g}%", return_type=str, when_used="json"),
    _written(r"^\d+(\.\d+)?%?$", "0.1%"),
]
Ratio = Annotated[float, BeforeValidator(ratio), Field(ge=1), _written(r"^\d+(\.\d+)?x?$", "1.5x")]
BasisPoints = Annotated[
    int,
    BeforeValidator(basis_points),
    PlainSerializer(lambda points: points / 100, return_type=float, when_used="json"),
    _written(r"^\d+(\.\d+)?%?$", "10"),
]

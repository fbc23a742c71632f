"""Answers of sources of metrics: a finite number, no data, or a sentence that says what came instead."""

from __future__ import annotations

import math

from deployer.drivers.metrics.http import SourceResponse
from deployer.drivers.metrics.number import Unreadable, number_in
from deployer.drivers.metrics.prometheus import _reduced, _values
from tests.fuzz.target import said

WEIGHT = 2
PATHS = (None, "$", "$.a.b", "$['p99'][0]", "$..value", "$[*]", "$[?@.a>1].b", "$[-1:]", "$.*.*")


def check(data: bytes) -> None:
    """The first byte chooses the path and the HTTP status."""
    choice = data[0] if data else 0
    text = data[1:].decode("utf-8", "replace")
    try:
        _finite(number_in(text, PATHS[choice % len(PATHS)]))
    except Unreadable as error:
        said(str(error))
    for form in ("vector", "matrix"):
        try:
            values = _values(SourceResponse(200 if choice < 200 else 503, text), form)
            for how in ("last", "max", "min", "mean"):
                _finite(_reduced(values, how) if values else None)
        except Unreadable as error:
            said(str(error))


def _finite(number: float | None) -> None:
    assert number is None or math.isfinite(number), number

"""From values to places on paper: axes with round numbers, and a time axis that leaves long rests out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployer.views.text import stopwatch

REST = 0.15  # of the watched time: a longer pause is left out
TENTHS = 10.0  # seconds: a longer axis counts whole ones
SHORTEST = 0.1  # seconds that an axis shows
GAP = 0.04  # of the width, for a pause that was left out
SPANS = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    14400,
    28800,
    86400,
    172800,
    604800,
)
_STEPS = (1, 2, 2.5, 5, 10)
_TOPS = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True)
class Linear:
    """A scale from 0 to `top`."""

    top: float

    @classmethod
    def over(cls, values: Sequence[float], least: float) -> Linear:
        """Make a scale that shows all values, up to a round number, `least` at the least."""
        return cls(rounded(max([*values, least]) * 1.05, _TOPS))

    def place(self, value: float) -> float:
        """Return the part of the height, from 0 to 1."""
        return min(max(value / self.top, 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return the round numbers that are written at the axis."""
        step = rounded(self.top / 6)
        return [step * n for n in range(int(self.top / step + 1e-9) + 1)]


@dataclass(frozen=True)
class Logarithmic:
    """A scale from `low` to `high`, both above 0."""

    low: float
    high: float

    @classmethod
    def over(cls, values: Sequence[float]) -> Logarithmic:
        """Make a scale that shows all values with some air."""
        low, high = min(values), max(values)
        middle = math.sqrt(low * high)
        return cls(min(low / 1.15, middle / 1.6), max(high * 1.15, middle * 1.6))

    def place(self, value: float) -> float:
        """Return the part of the height, from 0 to 1."""
        return min(max(math.log(value / self.low) / math.log(self.high / self.low), 0.0), 1.0)

    def ticks(self) -> list[float]:
        """Return the round numbers at the axis: 1, 2, 5 of each power of ten, four to seven of them."""
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7), tuple(n / 4 for n in range(4, 40))):
            ticks = [s * 10.0**power for power in range(first, last + 1) for s in steps]
            inside = [t for t in ticks if self.low <= t <= self.high]
            if len(inside) >= 3:
                return inside[:: math.ceil(len(inside) / 5)]
        return inside


@dataclass(frozen=True)
class Times:
    """A time axis over stretches of Unix time; the pauses between them are narrow gaps."""

    stretches: tuple[tuple[float, float], ...]

    @classmethod
    def over(cls, times: Sequence[float]) -> Times:
        """Make an axis for sorted times; a pause that is long beside what was watched is left out."""
        pauses = sorted((b - a) for a, b in pairwise(times))
        usual = pauses[len(pauses) // 2] if pauses else 1.0
        busy = sum(p for p in pauses if p <= 10 * usual)
        limit = max(REST * busy, 10 * usual, 1.0)
        stretches = [[times[0], times[0]]]
        for before, now in pairwise(times):
            if now - before > limit:
                stretches.append([now, now])
            stretches[-1][1] = now
        return cls(tuple((a, max(b, a + SHORTEST)) for a, b in stretches))

    def place(self, at: float) -> float:
        """Return the part of the width, from 0 to 1; a moment in a pause is at its end."""
        total = sum(b - a for a, b in self.stretches)
        room = 1 - GAP * (len(self.stretches) - 1)
        done = 0.0
        for number, (a, b) in enumerate(self.stretches):
            if at <= b:
                inside = max(at - a, 0.0)
                return (done + inside) / total * room + GAP * number
            done += b - a
        return 1.0

    def write(self, at: float) -> str:
        """Write a moment, counted from the beginning; a short axis has tenths of a second."""
        since = at - self.stretches[0][0]
        return f"{since:.1f} s" if self._watched < TENTHS else stopwatch(since)

    @property
    def _watched(self) -> float:
        return sum(b - a for a, b in self.stretches)

    def ticks(self, most: int) -> list[float]:
        """Return round moments, counted from the beginning, at most about `most` of them."""
        begin = self.stretches[0][0]
        total = self._watched
        step = next((s for s in SPANS if total / s <= most and (s >= 1 or total < TENTHS)), SPANS[-1])
        ticks = []
        for a, b in self.stretches:
            first = math.ceil((a - begin) / step)
            ticks += [begin + step * n for n in range(first, int((b - begin) / step) + 1)]
        return ticks


def rounded(value: float, steps: Sequence[float] = _STEPS) -> float:
    """Return the next number above or at the value that is one of the steps times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(s * power for s in steps if s * power >= value * (1 - 1e-9))

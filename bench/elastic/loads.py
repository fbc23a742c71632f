"""The loads: how many requests a second come at each moment, and which ones that are by chance."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deployer.evidence.scaling_replay import Came
from tests.load_model import Rate, requests

TAKES = 0.1  # seconds that an instance needs for a request, on average
SPIKE = 20.0  # seconds
SWING = 60.0  # seconds of a load that swings


@dataclass(frozen=True)
class Planned:
    """Requests of one load: when they come, seconds from its beginning, and how long each takes."""

    name: str
    seconds: float
    came: tuple[Came, ...]

    def write(self, path: Path) -> None:
        """Write them for the generator."""
        lines = (f"{at:.4f} /slow?ms={takes * 1000:.0f}\n" for at, takes in self.came)
        path.write_text("".join(lines), encoding="utf-8")


def _step(seconds: float, at: float) -> float:
    return 400 if seconds / 6 <= at < seconds * 4 / 6 else 10


def _sine(seconds: float, at: float) -> float:
    # One swing: of quicker ones even the policy in virtual time has too many wait, whatever starts how soon
    return 200 - 190 * math.cos(at / seconds * 2 * math.pi)


def _spikes(seconds: float, at: float) -> float:
    period = seconds / 5
    return 400 if at % period >= period - min(SPIKE, period / 2) else 20


def _around(_seconds: float, at: float) -> float:
    # With eight at once and the margin for chance, from 47 a second on the policy wants two instances
    return 46 + 9 * math.sin(at / SWING * 2 * math.pi)


# Requests a second at a moment of a run of so many seconds, and the most of them
LOADS: dict[str, tuple[Callable[[float, float], float], float]] = {
    "step": (_step, 400.0),
    "sine": (_sine, 390.0),
    "spikes": (_spikes, 400.0),
    "around": (_around, 55.0),
}


def planned(name: str, seconds: float, seed: int) -> Planned:
    """Draw the requests of a load; the app takes whole milliseconds."""
    shape, most = LOADS[name]
    rate: Rate = partial(shape, seconds)
    drawn = requests(rate, most, seconds, seed, TAKES)
    return Planned(name, seconds, tuple((round(at, 4), max(1, round(takes * 1000)) / 1000) for at, takes in drawn))

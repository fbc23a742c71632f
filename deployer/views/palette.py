"""The colours of the two sides, one in every view; red, green and yellow are for bad, good and undecided."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paint:
    """A colour as terminals know it (for rich, and as the code of an escape sequence), and in CSS, light and dark."""

    rich: str
    code: str
    light: str
    dark: str


STABLE = Paint("bright_blue", "94", "#2563eb", "#60a5fa")
CANDIDATE = Paint("magenta", "35", "#7c3aed", "#c084fc")
SIDES = {"stable": STABLE, "candidate": CANDIDATE}

"""Where instances of a service can be, which way a rollout goes, and how it ends."""

from __future__ import annotations

from typing import Literal

Colour = Literal["blue", "green"]
# Where instances stand: in an environment, or as fresh ones of the stable release that the candidate is compared with
Place = Literal["blue", "green", "baseline"]
PLACES: tuple[Place, ...] = ("blue", "green", "baseline")
COLOURS: tuple[Colour, Colour] = ("blue", "green")
FULL = 10000  # all traffic, in basis points


def other(colour: Colour) -> Colour:
    """Return the other colour."""
    return "green" if colour == "blue" else "blue"


Phase = Literal["forward", "back"]
Outcome = Literal["done", "reverted", "paused", "needs-attention"]

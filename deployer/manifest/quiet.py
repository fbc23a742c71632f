"""How long part of a service's traffic takes to give a canary step its responses."""

from __future__ import annotations

import math

REQUESTS = 20  # of a step, as `judge.requests` has it by default
FIRST_SHARE = 0.05  # of the default steps of a canary
WITHIN = 600.0  # seconds after which a step without `for` goes on if no regression was found
SURELY = 1.5  # times the responses needed: with fewer on average, chance decides whether there are enough
LONGEST = 3600.0  # seconds of a step that is still suggested


def seconds_needed(rate: float, share: float, requests: int = REQUESTS) -> float:
    """Return in how many seconds a share (a fraction) of so many requests a second surely gives enough responses."""
    return SURELY * requests / (rate * share) if rate * share else math.inf


def minutes_at_half(rate: float, requests: int = REQUESTS) -> int:
    """Return for how many minutes half of the users must be watched; 0 where that would take too long."""
    seconds = seconds_needed(rate, 0.5, requests)
    return max(1, math.ceil(seconds / 60 - 1e-9)) if seconds <= LONGEST + 1e-6 else 0


def strategy(rate: float) -> str:
    """Return the strategy for so many requests a second, as YAML; nothing where the default fits."""
    if seconds_needed(rate, FIRST_SHARE) <= WITHIN + 1e-6:
        return ""
    if minutes := minutes_at_half(rate):
        return f"{{canary: {{steps: [50], within: {minutes}m}}}}"
    return "{bluegreen: {bake: 10m}}"

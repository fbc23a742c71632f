"""What policies of scaling would have done with recorded traffic, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from deployer.views.view import View


@dataclass(frozen=True)
class ScalingRunView(View):
    """What one policy, an oracle that knows what comes, or a fixed size makes of the traffic.

    `waited` requests had no place at once, for `longest` seconds at most; `refused` of these got a 503 in the end.
    `hours` are instance-hours, `ratio` is how many times those of the oracle that is beside it. There were `least` to
    `most` instances, which `changed` so many times, and the service was `asleep` for so many seconds.
    """

    name: str
    hours: float
    ratio: float | None
    requests: int
    waited: int
    refused: int
    longest: float
    changed: int
    least: int
    most: int
    asleep: float = 0.0
    policy: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ScalingReplayView(View):
    """A recording of `seconds` with its `requests`, and what came of each policy; a start takes `start` seconds."""

    file: str
    service: str
    seconds: float
    requests: int
    at_once: int
    start: float
    runs: tuple[ScalingRunView, ...] = ()
    notes: tuple[str, ...] = ()

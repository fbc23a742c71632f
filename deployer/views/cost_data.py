"""What services cost in instance-hours, as plain frozen data."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.view import View


@dataclass(frozen=True)
class ReleaseCost(View):
    """The instance-hours of a release; `beside` of them ran while users were on another one.

    `scaling` are those that as many instances as `scale.max` would have taken more, `sleep` those of its last instance
    while it slept.
    """

    release: int
    version: str
    hours: float
    beside: float = 0.0
    scaling: float = 0.0
    sleep: float = 0.0


@dataclass(frozen=True)
class LoadPoint(View):
    """What a keeper saw of `seconds` of the load, from `at` on: means, and the most requests at once (`peak`).

    `room` is for how many requests the instances had room, and `asleep` the part of the time in which it slept.
    """

    at: float
    seconds: float
    instances: float
    room: float
    busy: float
    peak: int
    asleep: float = 0.0


@dataclass(frozen=True)
class CostView(View):
    """What a service cost between two moments, by release, the newest first.

    `idle` is the part of the room for requests that was not used, in the `seen` seconds that a keeper looked at the
    load; None where it did not, or the service slept all the time.
    """

    service: str
    since: float
    until: float
    releases: tuple[ReleaseCost, ...] = ()
    idle: float | None = None
    seen: float = 0.0
    load: tuple[LoadPoint, ...] = ()

    @property
    def total(self) -> ReleaseCost:
        """All releases together."""
        each = self.releases
        return ReleaseCost(
            0,
            "",
            sum(one.hours for one in each),
            sum(one.beside for one in each),
            sum(one.scaling for one in each),
            sum(one.sleep for one in each),
        )


@dataclass(frozen=True)
class CostsView(View):
    """What services cost between two moments."""

    since: float
    until: float
    services: tuple[CostView, ...] = ()

"""The plot of a service's size beside its load, over days."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployer.views.cost_data import CostView, LoadPoint
from deployer.views.report.plot import Plot, Series
from deployer.views.report.plots import Figure
from deployer.views.report.scale import Linear, Times
from deployer.views.text import plural

HOUR, DAY = 3600.0, 86_400.0
_HOURS = (1, 2, 3, 6, 12)


@dataclass(frozen=True)
class Calendar(Times):
    """A time axis in hours and days of local time."""

    def write(self, at: float) -> str:
        """Write the time of the day; at midnight the day."""
        moment = time.localtime(at)
        return time.strftime("%d %b" if (moment.tm_hour, moment.tm_min) == (0, 0) else "%H:%M", moment)

    def ticks(self, most: int) -> list[float]:
        """Return round hours, or midnights, at most about `most` of them."""
        (began, ended), *_ = self.stretches
        hours = next((each for each in _HOURS if (ended - began) / HOUR / each <= most), 24)
        days = max(1, round((ended - began) / DAY / most + 0.5)) if hours == 24 else 1
        return [at for at in _moments(began, ended, hours, days) if began <= at <= ended]


def _moments(began: float, ended: float, hours: int, days: int) -> Iterator[float]:
    first = time.localtime(began)
    for day in range(0, int((ended - began) // DAY) + 2, days):
        for hour in range(0, 24, hours):
            yield time.mktime((first.tm_year, first.tm_mon, first.tm_mday + day, hour, 0, 0, 0, 0, -1))


def figure(view: CostView) -> Figure | None:
    """Return the plot of what a keeper saw of a service; None where it saw nothing."""
    if not view.load:
        return None
    points = list(_spaced(view.load))
    at = [moment for moment, _ in points]
    series = (
        Series("stable", at, [None if point is None else point.instances for _, point in points], stepped=True),
        Series("candidate", at, [None if point is None else _needed(point, view.load) for _, point in points]),
    )
    highest = [value for each in series for value in each.values if value is not None]
    hints = [(point.at, _hint(point)) for point in view.load]
    plot = Plot(
        f"instances of {view.service} and how many its load fills, over time",
        series,
        Calendar(((view.since, max(view.until, view.since + HOUR)),)),
        Linear.over(highest, 1.0),
        lambda value: f"{value:g}",
        hints=hints,
    )
    legend = (("stable", "instances (0: asleep)"), ("candidate", "filled by the load"))
    days = (view.until - view.since) / DAY
    return Figure(f"The last {days:.0f} days", _caption(view), legend, plot)


def _caption(view: CostView) -> str:
    total = view.total
    saved = f"{total.scaling:,.1f} h saved by scaling, {total.sleep:,.1f} h by sleep"
    idle = "" if view.idle is None else f"; {100 * view.idle:.0f}% of the room was not used"
    return f"{total.hours:,.1f} instance-hours, {total.beside:,.1f} of them beside the live release; {saved}{idle}."


def _spaced(points: Sequence[LoadPoint]) -> Iterator[tuple[float, LoadPoint | None]]:
    """Yield the points, and nothing where it was not looked at in between."""
    span = min((b.at - a.at for a, b in pairwise(points)), default=HOUR)
    for number, point in enumerate(points):
        yield point.at, point
        if number + 1 == len(points) or points[number + 1].at - point.at > 1.5 * span:
            yield point.at + span, point
            yield point.at + span, None


def _needed(point: LoadPoint, points: Sequence[LoadPoint]) -> float:
    """Return how many instances the requests fill; what one has room for is known while there is one."""
    one = next((each.room / each.instances for each in (point, *points) if each.instances and each.room), 0.0)
    return point.busy / one if one else 0.0


def _hint(point: LoadPoint) -> str:
    when = time.strftime("%d %b %H:%M", time.localtime(point.at))
    if point.asleep > 0.99:
        return f"{when}: asleep"
    slept = f", asleep for {100 * point.asleep:.0f}% of it" if point.asleep else ""
    load = f"{point.busy:.1f} requests at once, {plural(point.peak, 'request')} at most"
    return f"{when}: {point.instances:.1f} instances{slept}; {load}"

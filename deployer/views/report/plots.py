"""The plots of a report: share, errors, what it cost, latency, how far it was to a verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from deployer.planning.steps import percent
from deployer.views.report.data import Point, RatePoint, ReportView
from deployer.views.report.markup import Content, Markup, tag
from deployer.views.report.plot import Plot, Series, draw
from deployer.views.report.scale import Linear, Logarithmic, Times
from deployer.views.text import actual, count, latency, percentage, plural

WIDE, NARROW = (900, 210), (380, 200)  # units; a page shows one of the two
THIRD = (380, 190)
QUANTILES = ("p50", "p95", "p99")


@dataclass(frozen=True)
class Figure:
    """A plot with what stands around it."""

    title: str
    caption: str
    legend: tuple[tuple[str, str], ...]  # CSS class, words
    plot: Plot
    third: bool = False  # takes a third of a wide page

    def render(self) -> Markup:
        """Write the figure; a phone gets a picture of its own, whose letters are as large."""
        key = tag("span", [tag("span", tag("i", class_=style), words) for style, words in self.legend], class_="key")
        pictures: list[Content] = [draw(self.plot, *THIRD)]
        if not self.third:
            pictures = [draw(self.plot, *WIDE, "wide"), draw(self.plot, *NARROW, "narrow")]
        caption = tag("figcaption", tag("b", self.title), key, tag("small", self.caption) if self.caption else None)
        return tag("figure", caption, pictures, class_="third" if self.third else None)


def traffic(view: ReportView) -> list[Figure]:
    """Return the plots of share, error rates and failed responses; none for a rollout that nobody recorded."""
    if not view.points:
        return []
    times = _times(view)
    return [_errors(view, times), _share(view, times), *_cost(view, times)]


def _times(view: ReportView) -> Times:
    """Make the axis of a rollout that was watched: each watch from its beginning to its last look."""
    return Times.over([at for p, first in _firsts(view.points) for at in ((p.began, p.at) if first else (p.at,))])


def _firsts(points: Sequence[Point]) -> Iterator[tuple[Point, bool]]:
    """Yield each point with whether its watch begins there."""
    before = None
    for point in points:
        yield point, point.watch != before
        before = point.watch


def _steps(style: str, points: Sequence[Point], value: Callable[[Point], float], *, kept: bool) -> Series:
    """Make a line of steps; a watch begins with what was before it when that is `kept`, else with its first value."""
    at: list[float] = []
    values: list[float] = []
    for point, first in _firsts(points):
        if first:
            at.append(point.began)
            values.append((values[-1] if values else 0.0) if kept else value(point))
        at.append(point.at)
        values.append(value(point))
    return Series(style, at, values, stepped=True)


def answer_times(view: ReportView) -> list[Figure]:
    """Return a plot for each quantile, on one scale."""
    times = _times(view) if view.points else None
    values = [v for p in view.points for s in (p.stable, p.candidate) for q in QUANTILES if (v := getattr(s, q))]
    if times is None or not values:
        return []
    return [_quantile(view, times, q, Logarithmic.over([max(v, 0.01) for v in _of(view, q)])) for q in QUANTILES]


def evidence(view: ReportView) -> list[Figure]:
    """Return the plot of how far it was to "worse" and to each proof of "no worse"."""
    if not any(p.worse is not None or p.proofs for p in view.points):
        return []
    times = _times(view)
    at, parts = [p.at for p in view.points], [p.watch for p in view.points]
    names = list(dict.fromkeys(name for p in view.points for name in p.proofs))
    series = [Series("worse", at, [p.worse for p in view.points], parts=parts)]
    series += [
        Series(f"shown s{n}", at, [p.proofs.get(name) for p in view.points], parts=parts)
        for n, name in enumerate(names)
    ]
    legend = [("worse", "that it is worse"), *((f"shown s{n}", f"no worse in {name}") for n, name in enumerate(names))]
    caption = (
        "On a logarithmic scale. “Worse” at 100% rolls the release back at once; a step that takes as long as needed"
        " goes on when each “no worse” is at 100%. Looking often adds no false alarms."
    )
    hints = [(p.at, _evidence_hint(p, times)) for p in view.points]
    title = "how far it was to a verdict, over time"
    plot = Plot(title, series, times, Linear(1.0), _percent, ((1.0, ""),), view.marks, labelled=True, hints=hints)
    return [Figure("Evidence", caption, tuple(legend), plot)]


def _share(view: ReportView, times: Times) -> Figure:
    at = [p.at for p in view.points]
    series = [
        _steps("asked", view.points, lambda p: p.share / 100, kept=False),
        Series("candidate", at, [None if p.measured is None else p.measured / 100 for p in view.points], dots=True),
    ]
    scale = Linear(100.0) if view.highest > 5000 else Linear.over([s for p in series for s in p.values if s], 5.0)
    hints = [(p.at, f"{_when(p, times)}: {percent(p.share)} target, {_measured(p)}") for p in view.points]
    plot = Plot(
        "target and actual share, over time",
        series,
        times,
        scale,
        _whole_percent,
        (),
        view.marks,
        labelled=True,
        hints=hints,
    )
    return Figure("Share of the candidate", "", (("asked", "target"), ("candidate dot", "actual")), plot)


def _errors(view: ReportView, times: Times) -> Figure:
    at = [p.at for p in view.points]
    parts = [p.watch for p in view.points]
    series = [_rates("stable", at, [p.stable for p in view.points], parts)]
    series.append(_rates("candidate", at, [p.candidate for p in view.points], parts))
    # Bands of few answers reach up to 100%, and so may a rate at first: what comes later must stay readable.
    tops = sorted(b[1] for s in series for b in s.band if b is not None)
    last = [s.values[-1] or 0.0 for s in series]
    scale = Linear(min(1.0, Linear.over([*last, *tops[: len(tops) * 3 // 4]], 0.005).top))
    hints = [
        (p.at, f"{_when(p, times)}: {_rate('candidate', p.candidate)}; {_rate('stable', p.stable)}")
        for p in view.points
    ]
    title = "error rates of both sides with bands, over time"
    plot = Plot(title, series, times, scale, _percent, (), view.marks, labelled=True, hints=hints)
    caption = (
        "Of all responses in each analysis step so far. The bands are where the rate lies with 95% confidence (Wilson)."
    )
    return Figure("Failed responses", caption, _LEGEND, plot)


_LEGEND = (("candidate", "candidate"), ("stable", "stable"))


def _rates(style: str, at: Sequence[float], sides: Sequence[RatePoint], parts: Sequence[int]) -> Series:
    bands = [(s.low, s.high) if s.watch_requests else None for s in sides]
    return Series(style, at, [s.rate for s in sides], bands, parts=parts)


def _cost(view: ReportView, times: Times) -> Iterator[Figure]:
    last = view.points[-1]
    if not (last.seen or last.shielded or view.budget):
        return
    series = [_steps("candidate", view.points, lambda p: float(p.seen), kept=True)]
    legend = [("candidate", "seen by users")]
    if last.shielded:
        series.append(_steps("shield", view.points, lambda p: float(p.shielded), kept=True))
        legend.append(("shield", "kept from users: stable answered instead"))
    limits = ((float(view.budget), f"budget {view.budget:,}"),) if view.budget else ()
    top = [float(p.seen) for p in view.points] + [float(p.shielded) for p in view.points] + [float(view.budget)]
    hints = [
        (p.at, f"{_when(p, times)}: {plural(p.seen, 'failed response')} seen, {p.shielded:,} kept") for p in view.points
    ]
    title = "failed responses of the candidate so far, over time"
    plot = Plot(
        title,
        series,
        times,
        Linear.over(top, 4.0),
        lambda v: f"{v:,.0f}",
        limits,
        view.marks,
        labelled=True,
        hints=hints,
    )
    yield Figure("Failed responses of the candidate, so far", "", tuple(legend), plot)


def _of(view: ReportView, quantile: str) -> list[float]:
    sides = [s for p in view.points for s in (p.stable, p.candidate)]
    return [v for s in sides if (v := getattr(s, quantile)) is not None] or [1.0]


def _quantile(view: ReportView, times: Times, quantile: str, scale: Logarithmic) -> Figure:
    at = [p.at for p in view.points]
    series = [
        Series(style, at, [getattr(getattr(p, style), quantile) for p in view.points])
        for style in ("stable", "candidate")
    ]
    write: Callable[[RatePoint], str] = lambda side: latency(getattr(side, quantile))  # noqa: E731 - said once, below
    hints = [
        (p.at, f"{_when(p, times)}: candidate {write(p.candidate)}, stable {write(p.stable)}") for p in view.points
    ]
    title = f"{quantile} of the latency of both sides, over time"
    plot = Plot(title, series, times, scale, latency, (), view.marks, hints=hints)
    return Figure(f"{quantile}", "", _LEGEND, plot, third=True)


def _when(point: Point, times: Times) -> str:
    return times.write(point.at)


def _measured(point: Point) -> str:
    return actual(point.measured)


def _rate(name: str, side: RatePoint) -> str:
    if side.rate is None:
        return f"{name} has no responses"
    band = f"{100 * side.low:.2g} to {100 * side.high:.2g}%"
    return f"{name} {percentage(side.rate)} failed ({count(side.watch_errors)} of {count(side.watch_requests)}; {band})"


def _evidence_hint(point: Point, times: Times) -> str:
    parts = [(point.worse, "to worse"), *((part, f"to no worse in {name}") for name, part in point.proofs.items())]
    told = ", ".join(f"{100 * part:.0f}% {words}" for part, words in parts if part is not None)
    return f"{_when(point, times)}: {told or 'nothing is known'}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.3g}%"


def _whole_percent(value: float) -> str:
    return f"{value:g}%"

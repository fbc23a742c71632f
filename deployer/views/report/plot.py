"""Plots as inline SVG: lines with bands and steps over time, coloured by the style sheet alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeVar

from deployer.views.report.data import Mark
from deployer.views.report.markup import Markup, tag
from deployer.views.report.scale import Times

V = TypeVar("V")
TOP, BOTTOM, RIGHT = 12.0, 26.0, 20.0  # around what is drawn, in units of the picture
LABELS = 8.0  # more above it for what happened then
LETTER = 6.2  # how wide a letter is, about


class Scale(Protocol):
    """From a value to a part of the height."""

    def place(self, value: float) -> float:
        """Return the part of the height, from 0 to 1."""
        ...

    def ticks(self) -> list[float]:
        """Return the values that are written at the axis."""
        ...


@dataclass(frozen=True)
class Series:
    """One line: values over time (None: nothing was measured), optionally within a band. `style` is a CSS class."""

    style: str
    times: Sequence[float]
    values: Sequence[float | None]
    band: Sequence[tuple[float, float] | None] = ()
    stepped: bool = False
    dots: bool = False
    parts: Sequence[int] = ()  # a line is cut where its part changes


@dataclass(frozen=True)
class Plot:
    """What is drawn: lines on common axes, limits as level lines, moments as upright ones."""

    title: str  # said to whoever cannot see it
    series: Sequence[Series]
    times: Times
    scale: Scale
    write: Callable[[float], str]  # a value at the axis
    limits: Sequence[tuple[float, str]] = ()
    marks: Sequence[Mark] = ()
    labelled: bool = False  # marks have their words above them
    hints: Sequence[tuple[float, str]] = field(default=())  # what is shown over a moment that is pointed at


def draw(plot: Plot, width: int, height: int, style: str = "") -> Markup:
    """Draw a plot into a picture of `width` by `height` units, as wide as the page lets it be."""
    # A percent sign is wider than a digit.
    left = 14.0 + 7.2 * max(len(plot.write(tick)) for tick in plot.scale.ticks())
    sheet = _Sheet(plot, left, width - RIGHT, TOP + (LABELS if plot.labelled else 0), height - BOTTOM)
    return tag(
        "svg",
        sheet.grid(),
        sheet.marks(),
        sheet.labels(),
        [sheet.band(s) for s in plot.series if s.band],
        sheet.limits(),
        [sheet.line(s) for s in plot.series],
        sheet.hints(),
        viewBox=f"0 0 {width} {height}",
        class_=f"plot {style}".strip(),
        role="img",
        aria_label=plot.title,
    )


@dataclass(frozen=True)
class _Sheet:
    plot: Plot
    left: float
    right: float
    top: float
    bottom: float

    def x(self, at: float) -> float:
        return self.left + self.plot.times.place(at) * (self.right - self.left)

    def y(self, value: float) -> float:
        return self.bottom - self.plot.scale.place(value) * (self.bottom - self.top)

    def grid(self) -> Iterable[Markup]:
        for value in self.plot.scale.ticks():
            y = self.y(value)
            yield tag("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="grid")
            yield tag("text", self.plot.write(value), x=self.left - 6, y=y + 4, text_anchor="end", class_="tick")
        for at in self._apart(self.plot.times.ticks(int((self.right - self.left) / 58))):
            x = self.x(at)
            yield tag("line", x1=x, x2=x, y1=self.bottom, y2=self.bottom + 4, class_="axis")
            written = self.plot.times.write(at)
            yield tag("text", written, x=x, y=self.bottom + 18, text_anchor="middle", class_="tick")
        yield from self._gaps()

    def _apart(self, moments: Iterable[float]) -> Iterable[float]:
        before = float("-inf")
        for at in moments:
            if self.x(at) - before >= 44:
                before = self.x(at)
                yield at

    def _gaps(self) -> Iterable[Markup]:
        stretches = self.plot.times.stretches
        for (_, end), (begin, _) in pairwise(stretches):
            a, b = self.x(end), self.x(begin)
            yield tag("rect", x=a, y=self.top, width=b - a, height=self.bottom - self.top, class_="gap")

    def marks(self) -> Iterable[Markup]:
        for mark in self.plot.marks:
            x = self.x(mark.at)
            yield tag(
                "line",
                tag("title", mark.text),
                x1=x,
                x2=x,
                y1=self.top,
                y2=self.bottom,
                class_=f"mark {mark.kind}",
            )

    def labels(self) -> Iterable[Markup]:
        """Write what a mark stands for above its line, its end first; what has no room is left out."""
        taken: list[tuple[float, float]] = []
        for mark in sorted(self.plot.marks if self.plot.labelled else (), key=lambda mark: mark.kind == "share"):
            width, begin = LETTER * len(mark.label), self.x(mark.at) - 2
            last = begin + width > self.right  # ends with the picture
            begin = self.right - width if last else begin
            if all(begin + width + 6 <= a or begin >= b + 6 for a, b in taken):
                taken.append((begin, begin + width))
                x, anchor = (self.right, "end") if last else (begin, "start")
                yield tag("text", mark.label, x=x, y=self.top - 6, text_anchor=anchor, class_=f"label {mark.kind}")

    def limits(self) -> Iterable[Markup]:
        for value, label in self.plot.limits:
            y = self.y(value)
            yield tag("line", x1=self.left, x2=self.right, y1=y, y2=y, class_="limit")
            if label:
                yield tag("text", label, x=self.right - 4, y=y - 5, text_anchor="end", class_="label")

    def band(self, series: Series) -> Markup:
        paths = []
        bands = [None if b is None else (t, b) for t, b in zip(series.times, series.band, strict=True)]
        for run in self._runs(bands, series.parts):
            upper = [f"{self.x(t):.1f},{self.y(high):.1f}" for t, (_, high) in run]
            lower = [f"{self.x(t):.1f},{self.y(low):.1f}" for t, (low, _) in reversed(run)]
            paths.append(f"M{'L'.join(upper + lower)}Z")
        return tag("path", d="".join(paths), class_=f"band {series.style}")

    def line(self, series: Series) -> list[Markup]:
        paths, dots = [], []
        points = [None if v is None else (t, v) for t, v in zip(series.times, series.values, strict=True)]
        for run in self._runs(points, series.parts):
            paths.append(self._path(run, stepped=series.stepped))
            if series.dots or len(run) == 1:
                dots += [tag("circle", cx=self.x(t), cy=self.y(v), r=2.0, class_=f"dot {series.style}") for t, v in run]
        shapes = [tag("path", d="".join(paths), class_=f"line {series.style}")] if not series.dots else []
        return shapes + dots

    def _path(self, run: Sequence[tuple[float, float]], *, stepped: bool) -> str:
        (at, value), *rest = run
        parts = [f"M{self.x(at):.1f},{self.y(value):.1f}"]
        for at, value in rest:
            parts.append(
                f"H{self.x(at):.1f}V{self.y(value):.1f}" if stepped else f"L{self.x(at):.1f},{self.y(value):.1f}"
            )
        return "".join(parts)

    def _runs(self, points: Sequence[tuple[float, V] | None], parts: Sequence[int]) -> list[list[tuple[float, V]]]:
        """Cut a line where nothing was measured, where time was left out, and where its part changes."""
        runs: list[list[tuple[float, V]]] = []
        before: tuple[int, int] | None = None
        for number, point in enumerate(points):
            here = None if point is None else (self._stretch(point[0]), parts[number] if parts else 0)
            if point is not None:
                if here != before:
                    runs.append([])
                runs[-1].append(point)
            before = here
        return runs

    def _stretch(self, at: float) -> int:
        return sum(1 for a, _ in self.plot.times.stretches if a <= at)

    def hints(self) -> Iterable[Markup]:
        """Lay an unseen column over each moment that tells its numbers when it is pointed at."""
        places = [self.x(at) for at, _ in self.plot.hints]
        for number, (_, words) in enumerate(self.plot.hints):
            begin = self.left if number == 0 else (places[number - 1] + places[number]) / 2
            end = self.right if number == len(places) - 1 else (places[number] + places[number + 1]) / 2
            yield tag(
                "rect",
                tag("title", words),
                x=begin,
                y=self.top,
                width=max(end - begin, 0.5),
                height=self.bottom - self.top,
                class_="hint",
            )

"""Both sides in each watch, from the looks of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deployer.app.reports.judgement import side
from deployer.evidence.replay import JudgedLook, spoken
from deployer.model import Counts
from deployer.views.data import WatchView


class StepTotals:
    """Counts both sides in each watch while looks go by."""

    def __init__(self) -> None:
        self.lost = 0
        self._watches: list[_Counting] = []

    def passing(self, looks: Iterable[JudgedLook]) -> Iterator[JudgedLook]:
        """Yield the looks on as they come."""
        for look in looks:
            if not self._watches or self._watches[-1].number != look.watch:
                self._watches.append(_Counting(look))
            self._watches[-1].add(look)
            self.lost += look.sample.lost
            yield look

    def views(self) -> tuple[WatchView, ...]:
        """Return what was counted."""
        return tuple(watch.view() for watch in self._watches)


class _Counting:
    def __init__(self, first: JudgedLook) -> None:
        self.number = first.watch
        self._last = first
        self._stable, self._candidate, self._shielded = Counts(), Counts(), 0

    def add(self, look: JudgedLook) -> None:
        self._last = spoken((self._last, look))
        self._stable += look.sample.stable
        self._candidate += look.sample.candidate
        self._shielded += look.sample.shielded

    def view(self) -> WatchView:
        last = self._last
        enough = last.verdict.enough and bool(last.watching.seconds)
        text, values = last.verdict.at_its_time() if enough else (last.verdict.text, last.verdict.values)
        return WatchView(
            share=last.watching.share,
            at=last.began,
            seconds=last.at - last.began,
            verdict=last.verdict.kind,
            text=text,
            stable=side(self._stable),
            candidate=side(self._candidate),
            shielded=self._shielded,
            enough=enough,
            values=dict(values),
        )

"""Both sides in each watch: from the looks of a recording, or from what the journal kept."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from deployer.model import Counts
from deployer.replay import Seen, spoken
from deployer.reporting.judged import side
from deployer.steps import Watch
from deployer.store import Entry, Rollout
from deployer.views.data import SideView
from deployer.views.report.data import WatchView


class Watched:
    """Counts both sides in each watch while looks go by."""

    def __init__(self) -> None:
        self.lost = 0
        self._watches: list[_Counting] = []

    def passing(self, looks: Iterable[Seen]) -> Iterator[Seen]:
        """Give the looks on as they come."""
        for look in looks:
            if not self._watches or self._watches[-1].number != look.watch:
                self._watches.append(_Counting(look))
            self._watches[-1].add(look)
            self.lost += look.sample.lost
            yield look

    def views(self) -> tuple[WatchView, ...]:
        """Give what was counted."""
        return tuple(watch.view() for watch in self._watches)


class _Counting:
    def __init__(self, first: Seen) -> None:
        self.number = first.watch
        self._last = first
        self._stable, self._candidate, self._shielded = Counts(), Counts(), 0

    def add(self, look: Seen) -> None:
        self._last = spoken((self._last, look))
        self._stable += look.sample.stable
        self._candidate += look.sample.candidate
        self._shielded += look.sample.shielded

    def view(self) -> WatchView:
        last = self._last
        return WatchView(
            share=last.watching.share,
            at=last.began,
            seconds=last.at - last.began,
            verdict=last.verdict.kind,
            text=last.verdict.text,
            stable=side(self._stable),
            candidate=side(self._candidate),
            shielded=self._shielded,
            enough=last.verdict.enough and bool(last.watching.seconds),
            values=dict(last.verdict.values),
        )


def journaled(rollout: Rollout, entries: Sequence[Entry]) -> tuple[WatchView, ...]:
    """Give the watches as the journal has them: those that came to an end."""
    steps = rollout.plan.forward
    ended = [e for e in entries if e.phase == "forward" and "candidate" in e.detail and isinstance(steps[e.n], Watch)]
    return tuple(_view(entry, steps[entry.n]) for entry in ended)


def _view(entry: Entry, step: Any) -> WatchView:
    detail = entry.detail
    return WatchView(
        share=step.share,
        at=entry.began_at,
        seconds=(entry.ended_at or entry.began_at) - entry.began_at,
        verdict=str(detail.get("verdict", "")),
        text=str(detail.get("text", "")),
        stable=_side(detail["stable"]),
        candidate=_side(detail["candidate"]),
        shielded=int(detail.get("shielded") or 0),
        enough=entry.state == "done",
    )


def _side(data: Mapping[str, Any]) -> SideView:
    return SideView(int(data["requests"]), int(data["errors"]), data.get("p50"), data.get("p95"), data.get("p99"))

"""From looks to points of a plot: what both sides answered in stretches of equal length."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from deployer.evidence.recording import Looked, Mark
from deployer.evidence.replay import JudgedLook, spoken
from deployer.judge.bands import wilson
from deployer.model import FULL, Counts
from deployer.views.report.data import Point, RatePoint

POINTS = 160  # about so many in a report
LEAST = 20  # at least so many, as far as there were looks: a bad release may be gone within two seconds
USUAL = 1.0  # seconds: shorter stretches are for short rollouts
TIMED = 8  # stretches whose latency are shown together


def points(looks: Iterable[JudgedLook], watched: float) -> Iterator[Point]:
    """Yield the points of a rollout that was watched so many seconds, one after the other, in constant memory."""
    length = max(watched / POINTS, min(USUAL, watched / LEAST))
    seen = shielded = 0
    for _, of_watch in groupby(looks, key=lambda look: look.watch):
        stable, candidate = _Side(), _Side()
        began: float | None = None
        for stretch in _stretches(of_watch, length):
            began = stretch[0].began if began is None else began
            shielded += sum(look.sample.shielded for look in stretch)
            seen += sum(look.sample.candidate.errors - look.sample.shielded for look in stretch)
            sides = _sum(look.sample.stable for look in stretch), _sum(look.sample.candidate for look in stretch)
            yield _point(began, stretch, stable.after(sides[0]), candidate.after(sides[1]), seen, shielded)
            began = stretch[-1].at


def watched(marks: Iterable[Mark]) -> float:
    """Return the seconds that were watched, without the pauses between watches."""
    total, before = 0.0, None
    for mark in marks:
        if not isinstance(mark, Looked):
            before = None
            continue
        total += 0.0 if before is None else mark.at - before
        before = mark.at
    return total


def _stretches(looks: Iterable[JudgedLook], length: float) -> Iterator[list[JudgedLook]]:
    """Cut the looks of a watch; a short rest at its end belongs to the stretch before."""
    ready: list[JudgedLook] = []
    waiting: list[JudgedLook] = []
    for look in looks:
        if waiting and look.at - waiting[0].at >= length:
            if ready:
                yield ready
            ready, waiting = waiting, []
        waiting.append(look)
    if ready and waiting[-1].at - waiting[0].at < length / 2:
        ready, waiting = ready + waiting, []
    yield from (stretch for stretch in (ready, waiting) if stretch)


class _Side:
    """One side while a watch goes on."""

    def __init__(self) -> None:
        self._requests = self._errors = 0
        self._recent: deque[Counts] = deque(maxlen=TIMED)

    def after(self, counts: Counts) -> RatePoint:
        self._requests += counts.requests
        self._errors += counts.errors
        self._recent.append(counts)
        recent = _sum(self._recent)
        low, high = wilson(self._errors, self._requests)
        quantiles = (recent.quantile(q) for q in (0.5, 0.95, 0.99))
        return RatePoint(counts.requests, counts.errors, self._requests, self._errors, low, high, *quantiles)


def _sum(counts: Iterable[Counts]) -> Counts:
    return sum(counts, Counts())


def _point(
    began: float, looks: list[JudgedLook], stable: RatePoint, candidate: RatePoint, seen: int, shielded: int
) -> Point:
    last = spoken(looks)
    total = stable.requests + candidate.requests + sum(look.sample.rest.requests for look in looks)
    worse, proofs = progress(last.verdict.values)
    return Point(
        began=began,
        at=looks[-1].at,
        watch=last.watch,
        share=last.watching.share,
        stable=stable,
        candidate=candidate,
        measured=candidate.requests / total * FULL if total else None,
        worse=worse,
        proofs=proofs,
        seen=seen,
        shielded=shielded,
    )


def progress(values: Mapping[str, Any]) -> tuple[float | None, dict[str, float]]:
    """Return from 0 to 1 how far it is to "worse", None where that was not tested, and to each proof of "no worse"."""
    evidence, needed = values.get("evidence"), values.get("evidence_needed")
    worse = None
    if evidence is not None and needed:
        worse = min(max(math.log(max(evidence, 1.0)) / math.log(needed), 0.0), 1.0)
    return worse, {name: float(proof["progress"]) for name, proof in (values.get("proofs") or {}).items()}

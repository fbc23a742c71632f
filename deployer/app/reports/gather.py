"""Everything that is known of a rollout, from store and recording, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from deployer.app.operations import AppContext
from deployer.app.reports.observations import StepTotals
from deployer.app.reports.series import points, watched
from deployer.core.errors import Refused
from deployer.evidence import recording, replay
from deployer.evidence.shared_recording import brought
from deployer.manifest.portless import OF_WORKERS
from deployer.manifest.shape import spelt
from deployer.model import Release
from deployer.planning.steps import percent
from deployer.store import Rollout
from deployer.views.data import RolloutView
from deployer.views.jsonl import parse
from deployer.views.plain import sentence
from deployer.views.report.data import Mark, MetricView, Placed, ReportView, TimelineRow
from deployer.views.show import FORGOTTEN
from deployer.views.text import moment, plural
from deployer.views.text import release as named
from deployer.views.watches import bill, budget, watches, with_shares
from deployer.views.why import why

_NOT_TOLD = frozenset({"step.began", "task"})  # the steps say when they began; playbooks may have hundreds of tasks


def gather(house: AppContext, told: RolloutView) -> ReportView:
    """Make the report of a rollout from what `deploy show` tells of it, its releases and its recording."""
    rollout = house.store.rollouts.get(told.rollout.number)
    release = house.store.releases.get(rollout.service, rollout.release)
    origin = house.store.releases.get(rollout.service, rollout.origin) if rollout.origin else None
    found = why(told.events)
    view = ReportView(
        service=rollout.service,
        rollout=told.rollout,
        origin_version=origin.version if origin else "",
        cause=found.cause or (rollout.text if rollout.outcome != "done" else ""),  # the headline says that it is live
        remedy=found.remedy,
        log=found.log,
        trips=tuple((trip.kind, trip.text) for trip in found.trips),
        asked=found.asked,
        highest=max((int(e.get("share") or 0) for e in told.events if e["event"] == "traffic.changed"), default=0),
        metrics=tuple(_metrics(told.events)),
        marks=tuple(_marks(told.events)),
        steps=told.steps,
        timeline=tuple(_timeline(told.events)),
        instances=tuple(_instances(house, rollout)),
        about=tuple(_about(rollout, release, origin)),
        policy={k: v for k, v in spelt(release.manifest.judge).items() if release.served or k in OF_WORKERS},
        notes=(FORGOTTEN,) if rollout.ended_at and not told.events else (),
        made_at=house.clock.now(),
        served=release.served,
    )
    return _measured(house, _counted(view, told.events))


def _counted(view: ReportView, events: Sequence[Mapping[str, Any]]) -> ReportView:
    """Add what the watches told at their ends: it is there without a recording too."""
    told, cost = watches(events), bill(events)
    answers = sum(w.candidate.requests for w in told)
    view = replace(view, watches=told, answers=answers, budget=budget(events))
    return replace(view, seen=cost.seen, shielded=cost.shielded) if cost else view


def _measured(house: AppContext, view: ReportView) -> ReportView:
    """Add what the recording has: points over time, and what was seen in a watch that failed."""
    file = brought(house.store, view.rollout.number)
    if not file.exists():
        return view
    sides = StepTotals()
    try:
        source = recording.read(file)
        looks = replay.looks(source, replay.recorded_policy(source))
        seen = tuple(points(sides.passing(looks), watched(source)))
    except Refused as error:
        return replace(view, notes=(*view.notes, f"the recording cannot be read: {error.message}"))
    if not seen:
        return view
    lost = f"{plural(sides.lost, 'request')} went past the recorder: the proxy wrote faster than it was read"
    return replace(
        view,
        points=seen,
        watches=sides.views(),
        answers=sum(w.candidate.requests for w in sides.views()),
        seen=max(seen[-1].seen, view.seen or 0),
        shielded=seen[-1].shielded,
        lost=sides.lost,
        notes=(*view.notes, lost) if sides.lost else view.notes,
    )


def _metrics(events: Sequence[Mapping[str, Any]]) -> Iterator[MetricView]:
    last = {str(e["name"]): e for e in events if e["event"] == "metric"}
    for name, event in last.items():
        values = (event.get("candidate"), event.get("stable"), event.get("limit"))
        yield MetricView(name, str(event["verdict"]), str(event["text"]), *values, dry_run=bool(event.get("dry_run")))


def _marks(events: Sequence[Mapping[str, Any]]) -> Iterator[Mark]:
    said = ""  # the first of the shares says what they are
    for event in events:
        at = float(event["at"])
        match event["event"]:
            case "traffic.changed" if event.get("share"):
                share = percent(int(event["share"]))
                yield Mark(at, "share", share if said else f"share {share}", f"{moment(at)[11:]}: {share} asked")
                said = share
            case "rollout.rolling_back":
                yield Mark(at, "end", "rolled back", f"{moment(at)[11:]}: rolled back: {event.get('error', '')}")
            case "rollout.paused":
                yield Mark(at, "paused", "paused", f"{moment(at)[11:]}: {event.get('text', '')}")
            case "step.done" if event.get("step") == "promote":
                yield Mark(at, "promoted", "promoted", f"{moment(at)[11:]}: promoted")


def _timeline(events: Sequence[dict[str, Any]]) -> Iterator[TimelineRow]:
    for event, share in with_shares(map(parse, events)):
        if event.kind not in _NOT_TOLD:
            yield TimelineRow(event.at, share, event.kind, sentence(event))


def _instances(house: AppContext, rollout: Rollout) -> Iterator[Placed]:
    for entry in house.store.journal.of(rollout.number):
        for name, address in (entry.detail.get("instances") or {}).items():
            yield Placed(name, address)


def _about(rollout: Rollout, release: Release, origin: Release | None) -> Iterator[tuple[str, str]]:
    yield "rollout", f"{rollout.number}, strategy {rollout.strategy}"
    yield "began", moment(rollout.started_at)
    if rollout.ended_at:
        yield "ended", f"{moment(rollout.ended_at)}, exit {rollout.exit}: {rollout.text}"
    yield "release", named(release.number, release.version)
    yield "image", f"{release.image} ({release.image_id})"
    if release.git:
        yield "git", release.git
    if origin:
        yield "before", f"{named(origin.number, origin.version)}, {origin.image} ({origin.image_id})"

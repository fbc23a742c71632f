"""One rollout for somebody who was woken: the cause first, then what it cost, the times, the steps, the numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from deployer.planning.steps import percent
from deployer.views.data import JournalRow, RolloutView
from deployer.views.jsonl import parse
from deployer.views.numbers import numbers
from deployer.views.plain import sentence
from deployer.views.text import columns, duration, moment, one_line, plural, spent, verdict
from deployer.views.watches import HEADS, bill, cells, watches, with_shares
from deployer.views.why import Why, why

Ink = Callable[[str, str], str]
ENDED = ("done", "reverted")
FORGOTTEN = "its events are not kept any more (`keep.events`)"
STYLES = {"done": "green", "failed": "red", "tried": "cyan"}
VERDICTS = {"worse": "red", "inconclusive": "yellow", "no worse": "green"}


def show(view: RolloutView, ink: Ink) -> list[str]:
    """Return what stands below the line of the rollout."""
    found = why(view.events)
    blocks = (
        _cause(found, view, ink),
        _watches(view, ink),
        *_steps(view, ink),
        _verdicts(view, ink),
        _timeline(view, ink),
    )
    return [line for block in blocks if block for line in ("", *block)]


def _cause(found: Why, view: RolloutView, ink: Ink) -> list[str]:
    rows = [["why", ink(found.cause, "red" if view.rollout.exit else "")]] if found.cause else []
    if found.remedy and view.rollout.exit:
        rows.append(["do", found.remedy])
    rows += _cost(found, view)
    rows += [[trip.kind, one_line(trip.text)] for trip in found.trips]
    rows += [["who", f"{text}, {moment(at)}"] for at, text in found.asked]
    block = columns([[ink(label, "bold"), text] for label, text in _named_once(rows)])
    return block + [f"    | {line}" for line in found.log]


def _cost(found: Why, view: RolloutView) -> list[list[str]]:
    cost = bill(view.events)
    if cost is None or any(trip.kind == "budget" for trip in found.trips):
        return []
    seen = spent(cost.seen, cost.budget) if cost.budget else plural(cost.seen, "failed response")
    return [["budget" if cost.budget else "cost", f"users saw {seen}"]]


def _watches(view: RolloutView, ink: Ink) -> list[str]:
    """Return what both sides answered in each watch."""
    rows = [["", *(ink(head, "dim") for head in ("share", "took", *HEADS, "verdict"))]]
    for watch in watches(view.events):
        word = verdict(one_line(watch.verdict), watch.enough)
        first = [percent(watch.share), duration(watch.seconds), *cells("candidate", watch.candidate)]
        rows += [["", *first, ink(word, VERDICTS.get(word, ""))], ["", "", "", *cells("stable", watch.stable), ""]]
    return [ink("what users got", "bold"), *columns(rows, right=range(4, 10))] if len(rows) > 1 else []


def _named_once(rows: list[list[str]]) -> Iterator[tuple[str, str]]:
    before = ""
    for label, text in rows:
        yield ("" if label == before else label), text
        before = label


def _steps(view: RolloutView, ink: Ink) -> Iterator[list[str]]:
    for phase, title in (("forward", "steps"), ("back", "rollback steps")):
        steps = [step for step in view.steps if step.phase == phase]
        missed = [s for s in steps if s.state == "waiting"] if view.rollout.outcome == "reverted" else []
        if steps:
            yield [
                ink(title, "bold"),
                *columns([_step(step, ink) for step in steps if step not in missed]),
                *_missed(missed, ink),
            ]


def _missed(steps: list[JournalRow], ink: Ink) -> list[str]:
    return [ink(f"      {plural(len(steps), 'step')} not reached", "dim")] if steps else []


def _step(step: JournalRow, ink: Ink) -> list[str]:
    took = duration(step.seconds) if step.state in ("done", "failed") else ""
    state = ink(step.state, STYLES.get(step.state, "dim"))
    return ["", f"{step.n + 1:>2}", state, moment(step.at)[11:] or "–", took, one_line(step.text)]


def _verdicts(view: RolloutView, ink: Ink) -> list[str]:
    verdicts = [event for event in view.events if event.get("event") == "verdict"]
    return [ink("verdicts", "bold"), *(line for event in verdicts for line in _verdict(event, ink))] if verdicts else []


def _verdict(event: Mapping[str, Any], ink: Ink) -> list[str]:
    at, kind = moment(float(event["at"]))[11:], verdict(one_line(event.get("verdict", "")), bool(event.get("enough")))
    head = f"  {at}  {ink(kind, VERDICTS.get(kind, ''))}: "
    rows = [[f"    {n.name}", n.value, ink(n.limit, "dim")] for n in numbers(event)]
    return [head + one_line(event.get("text", "")), *columns(rows)]


def _timeline(view: RolloutView, ink: Ink) -> list[str]:
    """Return the events with the share that was in force after each."""
    if not view.events:
        return [ink("timeline", "bold"), f"  {FORGOTTEN}"] if view.rollout.outcome in ENDED else []
    rows = []
    events = [parse(event) for event in view.events]
    for event, share in with_shares(events):
        offset = f"+{duration(event.at - events[0].at)}" if event.at > events[0].at else ""
        if event.kind != "step.began":  # the steps above say when
            shares = [percent(share)] if view.served else []
            rows.append(["", moment(event.at)[11:], ink(offset, "dim"), *shares, sentence(event)])
    return [ink("timeline", "bold"), *columns(rows)]

"""What the watches of a rollout told at their ends, and what the candidate has cost: read from its events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from deployer.core.events import Event
from deployer.views.data import SideView, WatchView
from deployer.views.text import count, latency, part

FULL = 10000  # basis points
HEADS = ("side", "responses", "failed", "rate", "p50", "p95", "p99")
_TOLD = frozenset({"event", "at", "service", "rollout", "verdict", "text", "enough", "watched"})


@dataclass(frozen=True)
class Bill:
    """Failed responses of the candidate seen by users, how many they may see (0: no limit), and those kept."""

    seen: int
    budget: int
    shielded: int


def watches(events: Iterable[Mapping[str, Any]]) -> tuple[WatchView, ...]:
    """Return each watch as its verdict told it, in order."""
    return tuple(_watch(event, event["watched"]) for event in events if _is_watch(event))


def bill(events: Sequence[Mapping[str, Any]]) -> Bill | None:
    """Return what a rollout has cost; None when nobody watched it.

    The proxy counts what its users saw, the stream what was answered: neither may miss what the other has.
    """
    told = [event["watched"] for event in events if _is_watch(event)]
    trips = [event for event in events if event.get("event") == "budget.spent"]
    if not told and not trips:
        return None
    shielded = sum(_number(watched.get("shielded")) for watched in told)
    failed = sum(_number((watched.get("candidate") or {}).get("errors")) for watched in told)
    spent = [_number(told_by.get("spent")) for told_by in (*told, *trips)]
    return Bill(max(failed - shielded, *spent), budget(events), shielded)


def budget(events: Iterable[Mapping[str, Any]]) -> int:
    """Return the highest limit that was told of failed responses: it grows with what the margin allows; 0 for none."""
    limits = [0]
    for event in events:
        match event.get("event"):
            case "traffic.changed":
                limits.append(_number(event.get("budget")))
            case "budget.spent":
                limits.append(_number(event.get("limit")))
            case "verdict" if _is_watch(event):
                limits.append(_number(event["watched"].get("budget")))
    return max(limits)


def with_shares(events: Iterable[Event]) -> Iterator[tuple[Event, int]]:
    """Yield each event with the candidate's share after it; a promoted one has everybody."""
    share, step = 0, ""
    for event in events:
        if event.kind == "step.began":
            step = str(event.data.get("step", ""))
        elif event.kind == "traffic.changed":
            share = FULL if step == "promote" else _number(event.data.get("share"))
        yield event, share


def cells(name: str, side: SideView) -> list[str]:
    """Write what a side answered, in the columns of `HEADS`."""
    times = [latency(ms) for ms in (side.p50, side.p95, side.p99)]
    return [name, count(side.requests), count(side.errors), part(side.errors, side.requests), *times]


def _is_watch(event: Mapping[str, Any]) -> bool:
    return event.get("event") == "verdict" and isinstance(event.get("watched"), Mapping)


def _watch(event: Mapping[str, Any], watched: Mapping[str, Any]) -> WatchView:
    seconds = float(watched.get("seconds") or 0)
    return WatchView(
        share=_number(watched.get("share_target")),
        at=float(event.get("at") or 0) - seconds,
        seconds=seconds,
        verdict=str(event.get("verdict", "")),
        text=str(event.get("text", "")),
        stable=_side(watched.get("stable")),
        candidate=_side(watched.get("candidate")),
        shielded=_number(watched.get("shielded")),
        enough=bool(event.get("enough")),
        values={key: value for key, value in event.items() if key not in _TOLD},
    )


def _side(data: Any) -> SideView:
    data = data or {}
    return SideView(
        _number(data.get("requests")), _number(data.get("errors")), data.get("p50"), data.get("p95"), data.get("p99")
    )


def _number(value: Any) -> int:
    return int(value or 0)

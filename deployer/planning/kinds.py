"""All kinds of steps by their names, and the reading of a step."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from deployer.planning.guest_steps import Evict, Freeze
from deployer.planning.meeting import Meet
from deployer.planning.migration_steps import Discard, Migrate
from deployer.planning.steps import (
    Approve,
    Attach,
    Handover,
    Healthy,
    Observe,
    Pause,
    Play,
    Promote,
    Prune,
    Remove,
    Share,
    Sleep,
    Smoke,
    Start,
    Step,
    Stop,
    Warm,
    Watch,
)

_FORWARD: tuple[type[Step], ...] = (Start, Play, Healthy, Attach, Smoke, Share, Watch, Observe, Approve, Promote)
_AFTERWARDS: tuple[type[Step], ...] = (Handover, Remove, Stop, Sleep, Warm, Pause, Prune)
_MIGRATION: tuple[type[Step], ...] = (Migrate, Discard)
_GUESTS: tuple[type[Step], ...] = (Freeze, Evict)
_EVERY = (*_FORWARD, *_AFTERWARDS, *_MIGRATION, *_GUESTS, Meet)
KINDS: dict[str, type[Step]] = {cls.__name__.lower(): cls for cls in _EVERY}


def from_dict(data: dict[str, Any]) -> Step:
    """Read a step back from plain data.

    Raises ValueError for a kind or a field that this version does not know, so that a plan of a newer version is never
    half understood.
    """
    given = dict(data)
    kind = KINDS.get(given.pop("kind", ""))
    if kind is None:
        raise ValueError(f"unknown kind of step {data.get('kind')!r}; this version knows {', '.join(KINDS)}")
    unknown = given.keys() - {f.name for f in fields(kind)}
    if unknown:
        raise ValueError(f"step {data['kind']}: unknown field {', '.join(sorted(unknown))}")
    values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    return kind(**values)

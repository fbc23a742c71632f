"""Events as JSON lines: `--output json`, and recordings of it (docs/events.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import IO, Any

from deployer.core.errors import Refused
from deployer.core.events import Event

LATEST = 1e11  # Unix seconds; what comes later fits in no calendar


class JsonLines:
    """Writes one JSON object a line, each flushed at once."""

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        """Write the event."""
        self._out.write(dump(event) + "\n")
        self._out.flush()


def dump(event: Event) -> str:
    """Write an event as one line of ASCII JSON, so that no locale can spoil it."""
    return json.dumps(event.to_dict(), separators=(",", ":"), default=str)


def load(lines: Iterable[str]) -> list[Event]:
    """Read events back from JSON lines; empty lines are skipped. Raises Refused with the number of a bad line."""
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(parse(json.loads(line)))
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise Refused(f"line {number} is not an event: {error!r}", "give what `--output json` printed") from None
    return events


def parse(data: dict[str, Any]) -> Event:
    """Read an event back from what `Event.to_dict` gave. Raises KeyError, TypeError or ValueError when it is none."""
    rest = {key: value for key, value in dict(data).items() if key not in ("event", "at", "service", "rollout")}
    at = float(data["at"])
    if not 0 <= at < LATEST:
        raise ValueError(f"{data['at']!r} is no Unix time")
    return Event(str(data["event"]), at, str(data["service"]), int(data["rollout"]), rest)

"""What a rollout told, as its events: when users met the candidate, when it was turned back, and why."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Self

Event = dict[str, Any]


@dataclass(frozen=True)
class Told:
    """The events of one command, in their order."""

    events: tuple[Event, ...]

    @classmethod
    def of(cls, lines: str) -> Self:
        """Read what `--output json` printed."""
        return cls(tuple(json.loads(line) for line in lines.splitlines()))

    def all(self, kind: str, **fields: object) -> tuple[Event, ...]:
        """Return the events of a kind that have these values."""
        wanted = fields.items()
        return tuple(e for e in self.events if e["event"] == kind and all(e.get(k) == v for k, v in wanted))

    def one(self, kind: str, **fields: object) -> Event:
        """Return the first event of a kind that has these values; there must be one."""
        found = self.all(kind, **fields)
        assert found, f"no {kind} with {fields}: {self.text()}"
        return found[0]

    @property
    def shares(self) -> tuple[int, ...]:
        """The shares that the candidate got, in order, basis points."""
        return tuple(e["share"] for e in self.all("traffic.changed"))

    @property
    def first_user(self) -> float:
        """When the candidate got its first share, Unix seconds."""
        given = [e["at"] for e in self.all("traffic.changed") if e["share"]]
        assert given, f"the candidate got no users: {self.text()}"
        return float(given[0])

    @property
    def seconds_to_turn(self) -> float:
        """How long the candidate had users before it was turned back."""
        return float(self.one("rollout.rolling_back")["at"]) - self.first_user

    @property
    def limit(self) -> int:
        """The most failed responses that users may have seen: the budget, with all that the margin came to allow."""
        return max(int(e["budget"]) for e in (*self.all("traffic.changed"), *self.all("sample")))

    @property
    def ended(self) -> Event:
        """The last word."""
        return self.one("rollout.ended")

    def text(self) -> str:
        """Return what is worth reading when a test fails."""
        return "\n".join(_line(e) for e in self.events if e["event"] not in ("sample", "step.progress"))


def _line(event: Event) -> str:
    left_out = ("at", "service", "rollout", "plan", "steps")
    return json.dumps({k: v for k, v in event.items() if k not in left_out})


def told(lines: Iterable[str]) -> Iterable[Event]:
    """Read events while they come."""
    for line in lines:
        yield json.loads(line)

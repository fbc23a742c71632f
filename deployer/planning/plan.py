"""A plan: the numbered steps of a rollout and its one way back, as data.

A strategy builds it with `Plan.make`, which refuses a plan that would do nothing or could hurt.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from deployer.core.errors import Refused
from deployer.model import FULL, Colour, Phase, other
from deployer.planning.guest_steps import Evict, Freeze
from deployer.planning.kinds import from_dict
from deployer.planning.meeting import Meet
from deployer.planning.migration_steps import Discard, Migrate
from deployer.planning.steps import (
    Approve,
    Attach,
    Healthy,
    Place,
    Promote,
    Remove,
    Share,
    Sleep,
    Start,
    Step,
    Warm,
    percent,
)

FORMAT = 1
# Steps of a plan between two rollouts
_ADJUSTING = (Start, Healthy, Attach, Remove, Sleep, Freeze, Approve, Migrate, Discard)
ROLLBACK = "rollback"  # the strategy of a plan that leaves a finished release


@dataclass(frozen=True)
class Plan:
    """Steps forward, steps back, and between which releases. `origin` is 0 before the first deploy."""

    service: str
    strategy: str
    origin: int
    release: int
    forward: tuple[Step, ...]
    back: tuple[Step, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def make(
        cls,
        service: str,
        strategy: str,
        origin: int,
        release: int,
        forward: tuple[Step, ...],
        back: tuple[Step, ...],
        notes: tuple[str, ...] = (),
    ) -> Plan:
        """Make a checked plan.

        Raises Refused when it leads to the release that is live, has no single commit point, has no way back, or gives
        traffic to a candidate before its health gate.
        """
        plan = cls(service, strategy, origin, release, forward, back, notes)
        problem = plan.problem()
        if problem:
            raise Refused(f"strategy {strategy}: {problem}", "this is a mistake of the strategy, not of the manifest")
        return plan

    @classmethod
    def adjusting(
        cls,
        service: str,
        occasion: str,
        release: int,
        way: tuple[Step, ...],
        back: tuple[Step, ...],
        why: tuple[str, ...],
    ) -> Plan:
        """Make a checked plan between two rollouts: it starts and removes instances, or ends a migration.

        It moves no users.

        Raise ValueError for one that does anything else, or takes away all that users have.
        """
        plan = cls(service, occasion, release, release, way, back, why)
        for step in (*way, *back):
            if isinstance(step, Evict):
                continue  # a guest has no right to stay
            if not isinstance(step, _ADJUSTING) or getattr(step, "outage", False):
                raise ValueError(f"an adjustment has no step {step.kind}: {step.explain()}")
            if isinstance(step, Remove) and not step.keep and step.release in (0, release):
                raise ValueError(f"an adjustment leaves users something: {step.explain()}")
        return plan

    @property
    def adjusts(self) -> bool:
        """Whether it only adjusts what runs of the live release, which stays live: it has no commit point."""
        return self.origin == self.release

    @property
    def meets(self) -> bool:
        """Whether it is one of a set, of which all rollouts go the same way."""
        return any(isinstance(step, Meet) for step in self.forward)

    def problem(self) -> str:
        """Return what is wrong with the plan, or nothing."""
        if self.origin == self.release:
            return f"the plan leads from r{self.origin} to itself"
        promotes = [n for n, step in enumerate(self.forward) if isinstance(step, Promote)]
        if len(promotes) != 1:
            return f"a plan has exactly one promote step, this one has {len(promotes)}"
        if not self.back:
            return "a plan needs rollback steps"
        colour = getattr(self.forward[promotes[0]], "colour", "")
        proven: set[str] = set()
        for step in self.forward[: promotes[0] + 1]:
            stable = isinstance(step, Remove) and step.colour not in (colour, "baseline")
            if isinstance(step, Remove) and stable and not step.keep and not step.outage:
                return "the stable environment would be emptied before the commit point"
            # Attached means that the proxy's own checks have passed, which is all that a warm environment needs.
            if isinstance(step, Healthy | Attach):
                proven.add(step.colour)
            if isinstance(step, Share | Promote) and colour not in proven:
                return f"step {step.kind} comes before the candidate was found healthy"
            problem = self._baseline_problem(step, proven) if isinstance(step, Share) else ""
            if problem:
                return problem
        return ""

    def _baseline_problem(self, step: Share, proven: set[str]) -> str:
        if not step.baseline:
            return ""
        if "baseline" not in proven:
            return "step share gives users to a baseline before it was found healthy"
        if step.share + step.baseline > FULL:
            return f"candidate and baseline together get {percent(step.share + step.baseline)} of the traffic"
        if not any(isinstance(s, Remove) and s.colour == "baseline" for s in self.back):
            return "the rollback steps leave the baseline running"
        return ""

    def company(self, standing: Collection[Place]) -> str:
        """Return where the plan runs two releases at once, or nothing; `standing` are the places that are taken now.

        On the way back everything may stand that was there, and the candidate.
        """
        colour = getattr(self.forward[self.commit], "colour", "")
        for way, taken in ((self.forward, set(standing)), (self.back, {*standing, colour})):
            for step in way:
                if isinstance(step, Remove) and not step.keep:
                    taken.discard(step.colour)
                elif isinstance(step, Start):
                    if beside := taken - {step.colour}:
                        return f"r{step.release} is started while {' and '.join(sorted(beside))} is still running"
                    taken.add(step.colour)
                elif isinstance(step, Warm):
                    return f"r{step.release} is kept warm"
        return ""

    @property
    def commit(self) -> int:
        """Index of the promote step: before it there is a way back, after it only forward."""
        if self.adjusts:
            return len(self.forward)
        return next(n for n, step in enumerate(self.forward) if isinstance(step, Promote))

    @property
    def colour(self) -> Colour:
        """Colour of the candidate; of an adjustment, that of the live release."""
        if self.adjusts:
            first = next(step for step in self.forward if hasattr(step, "colour"))
            place: Colour = "green" if first.colour == "green" else "blue"
            return place if getattr(first, "release", 0) == self.release else other(place)
        step = self.forward[self.commit]
        if not isinstance(step, Promote):
            raise TypeError("the commit point of a plan is its promote step")
        return step.colour

    def steps(self, phase: Phase) -> tuple[Step, ...]:
        """Return the steps of a way."""
        return self.forward if phase == "forward" else self.back

    def spare(self, release: int) -> int:
        """Return how many hosts of a release may not respond while it is started."""
        return max((s.spare for s in self.forward if isinstance(s, Start) and s.release == release), default=0)

    def to_json(self) -> str:
        """Return the plan as JSON, one key order for ever."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {
            "format": FORMAT,
            "service": self.service,
            "strategy": self.strategy,
            "origin": self.origin,
            "release": self.release,
            "forward": [s.to_dict() for s in self.forward],
            "back": [s.to_dict() for s in self.back],
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read a stored plan. Raises Refused when a newer version wrote it, or when it is damaged."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise ValueError(f"it has format {data['format']}, this version reads {FORMAT}")
            forward, back = (tuple(from_dict(s) for s in data[way]) for way in ("forward", "back"))
            return cls(
                data["service"], data["strategy"], data["origin"], data["release"], forward, back, tuple(data["notes"])
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise Refused(f"the stored plan cannot be read: {why}", "use the version that wrote it") from None

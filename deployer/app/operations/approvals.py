"""What people say at a gate that waits for their approval, and what of a plan waits for somebody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core.errors import Exit, Refused
from deployer.planning.orders import RolloutResult
from deployer.planning.plan import Plan
from deployer.planning.steps import Approve
from deployer.store import Rollout, Store, Vote, person_of, whoami

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext


@dataclass(frozen=True)
class Gate:
    """An approval that a rollout waits for: the step, until when, and what was said."""

    n: int
    step: Approve
    until: float
    voices: tuple[Vote, ...]

    @property
    def given(self) -> tuple[str, ...]:
        """Who approved so far."""
        return tuple(voice.by for voice in self.voices if not voice.refused)

    @property
    def missing(self) -> int:
        """How many must still approve."""
        return max(0, self.step.count - len(self.given))


def gate_of(store: Store, rollout: Rollout, now: float) -> Gate | None:
    """Return the approval that a rollout waits for; None when it waits for none."""
    if rollout.phase != "forward" or not rollout.open:
        return None
    for entry in store.journal.of(rollout.number):
        step = rollout.plan.forward[entry.n] if entry.phase == "forward" else None
        if isinstance(step, Approve) and step.count and entry.state == "begun" and entry.until > now:
            return Gate(entry.n, step, entry.until, store.approvals.at(rollout.number, entry.n, entry.until))
    return None


def approve(
    house: AppContext,
    service: str,
    reason: str = "",
    *,
    refuse: bool = False,
    number: int = 0,
    role: str = "",
) -> RolloutResult:
    """Approve what a rollout waits for, or refuse it: then it goes back. `role` is that of the caller's token.

    Whoever drives the rollout goes on by itself. Raises Refused for somebody who is not asked, and when nothing waits.
    """
    from deployer.app.operations.control import open_rollout, stop

    rollout = open_rollout(house, service, number)
    if refuse and not reason:
        raise Refused("a refusal needs a reason", 'say why: -m "reason"')
    now, by = house.clock.now(), whoami()
    gate = gate_of(house.store, rollout, now)
    if gate is None:
        raise Refused(f"rollout {rollout.number} of {service} is not waiting for approval", "see `deploy status`")
    voice = Vote(by, role, refuse, reason, now, 0)
    if why := gate.step.allows(voice.person, role, person_of(rollout.started_by)):
        raise Refused(f"rollout {rollout.number}: {why}", "ask one of them")
    text = _said(gate, voice)
    house.sink(house.store.approvals.speak(rollout, gate.n, gate.until, voice, text))
    driven = house.store.locks.read(service) is not None
    if refuse and not driven:
        return stop(house, service, f"refused: {reason}", number=rollout.number)
    left = "" if driven else "; its process is gone: `deploy resume` goes on"
    return RolloutResult("done", Exit.DONE, f"rollout {rollout.number} of {service}: {text}{left}", rollout.number)


def _said(gate: Gate, voice: Vote) -> str:
    why = f": {voice.reason}" if voice.reason else ""
    if voice.refused:
        return f"refused by {voice.by}{why}"
    others = [by for by in gate.given if person_of(by).casefold() != voice.person.casefold()]
    return f"approved by {voice.by}, {len(others) + 1} of {gate.step.count}{why}"


def refuse_unanswerable(plan: Plan, starter: str) -> None:
    """Refuse a plan that waits for more people than may approve it: it could only come to the end of its time."""
    for step in plan.forward:
        if not isinstance(step, Approve) or not step.count or step.role or step.own:
            continue
        others = [name for name in step.by if name.casefold() != starter.casefold()]
        if len(others) < step.count:
            raise Refused(
                f"{plan.service}: it needs the approval of {step.whose()}, and {starter}, who starts it, may not give"
                " their own",
                "let somebody else start it; or name more people, a role, or `own: true` in `approve`",
            )

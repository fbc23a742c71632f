"""How long nothing ran of a service whose releases must not run at once: from the end of one to the next start."""

from __future__ import annotations

from collections.abc import Iterable

from deployer.planning.plan import Plan
from deployer.planning.steps import Remove, Start
from deployer.store import JournalEntry


def downtime(plan: Plan, journal: Iterable[JournalEntry]) -> float:
    """Return the seconds in which no instance ran, as the journal of a rollout has it; 0 where one always did."""
    total, since = 0.0, None
    done = ((entry.ended_at, entry) for entry in journal if entry.state == "done" and entry.ended_at is not None)
    for at, entry in sorted(done, key=lambda one: one[0]):
        step = plan.steps(entry.phase)[entry.n]
        if isinstance(step, Remove) and step.outage:
            since = at if since is None else since
        elif isinstance(step, Start) and since is not None:
            total, since = total + at - since, None
    return total


def say(seconds: float) -> str:
    """Return it as the end of a sentence; nothing where there was none."""
    return f"; no instance was running for {seconds:,.1f} s" if seconds else ""

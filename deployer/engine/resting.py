"""Instances that rest: asleep until somebody comes, or frozen until they are removed."""

from __future__ import annotations

from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import StepFailed
from deployer.engine.run import Drive
from deployer.planning.guest_steps import Freeze
from deployer.planning.steps import Sleep


def sleep(run: Drive, step: Sleep, deadline: Deadline) -> dict[str, Any]:
    """Stop or pause what runs until the next request, and read that back; who comes meanwhile keeps it awake."""
    sleeper = run.drivers.sleeper
    if sleeper is None:
        raise StepFailed(f"{run.service} does not sleep", "`scale.min: 0` in its manifest has it sleep")
    patience = Deadline.after(run.clock, min(step.drain, deadline.left()))
    if not sleeper.sleep(run.service, step.colour, step.grace, patience, deadline):
        run.tell("note", text="somebody came: it stays awake")
        return {"asleep": False}
    running = [i.name for i in run.instances(step.colour, step.release) if i.state == "running"]
    if running and step.colour in sleeper.asleep(run.service):
        raise StepFailed(f"{', '.join(running)}: asleep, but the runtime still has it running", "see `deploy doctor`")
    return {"asleep": not running}


def freeze(run: Drive, step: Freeze, deadline: Deadline) -> dict[str, Any]:
    """Take processors away from what runs of a guest, and read back that nothing of it runs."""
    guests = run.drivers.guests
    if guests is None:
        raise StepFailed(f"{run.service} is no guest", "`tenant` in its manifest makes it one")
    guests.freeze([i for i in run.instances(step.colour, step.release) if i.state == "running"], deadline)
    if running := [i.name for i in run.instances(step.colour, step.release) if i.state == "running"]:
        raise StepFailed(f"{', '.join(running)}: frozen, but the runtime still has it running", "see `deploy doctor`")
    return {"frozen": [i.name for i in run.instances(step.colour, step.release)]}

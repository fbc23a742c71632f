"""Instances that rest: asleep until somebody comes, paused for a rollback, or frozen until they are removed."""

from __future__ import annotations

from typing import Any

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed, DriverFailed, StepFailed
from deployer.engine.removal import AT_ONCE
from deployer.engine.run import Drive
from deployer.planning.guest_steps import Freeze
from deployer.planning.steps import Pause, Sleep, named
from deployer.transport.fanout import on_all


def sleep(run: Drive, step: Sleep, deadline: Deadline) -> dict[str, Any]:
    """Stop or pause what runs until the next request, and read that back; who comes meanwhile keeps it awake."""
    sleeper = run.drivers.sleeper
    if sleeper is None:
        raise StepFailed(f"{run.service} does not sleep", "`scale.min: 0` in its manifest lets it sleep")
    patience = Deadline.after(run.clock, min(step.drain, deadline.left()))
    if not sleeper.sleep(run.service, step.colour, step.grace, patience, deadline):
        run.tell("note", text="somebody came: it stays awake")
        return {"asleep": False}
    running = [i.name for i in run.instances(step.colour, step.release) if i.state == "running"]
    if running and step.colour in sleeper.asleep(run.service):
        raise StepFailed(f"{', '.join(running)}: asleep, but the runtime still has it running", "see `deploy doctor`")
    return {"asleep": not running}


def freeze(run: Drive, step: Freeze, deadline: Deadline) -> dict[str, Any]:
    """Take processors away from what runs of a guest, and read back which stand still.

    One that cannot be frozen is no reason to let it stay: the next step ends it.
    """
    guests = run.drivers.guests
    if guests is None:
        raise StepFailed(f"{run.service} is no guest", "`tenant` in its manifest makes it one")
    try:
        guests.freeze([i for i in run.instances(step.colour, step.release) if i.state == "running"], deadline)
    except (DriverFailed, DeadlinePassed) as error:
        run.tell("note", text=f"not frozen, and stopped all the same: {error.message}")
    there = run.instances(step.colour, step.release)
    return {"frozen": [i.name for i in there if i.state == "paused"]}


def pause(run: Drive, step: Pause, deadline: Deadline) -> dict[str, Any]:
    """Pause what is kept, and read that back; what cannot be paused runs on, ready for a rollback all the same.

    It is out of the proxy first, so that nobody is ever sent to what answers nobody.
    """
    live, traffic, pauser = run.traffic.read(), run.drivers.traffic, run.drivers.pauser
    if pauser is None or live is None or live.stable == step.colour:
        return {"paused": []}
    there = {i.name: i for i in run.instances(step.colour, step.release) if i.state in ("running", "paused")}
    leaving, cut = [server.name for server, _ in traffic.servers(run.service, step.colour)], 0
    if leaving:
        cut = traffic.drain(
            run.service, step.colour, leaving, Deadline.after(run.clock, min(step.drain, deadline.left()))
        )
        traffic.detach(run.service, step.colour, leaving, deadline)
    why = "the runtime shows that it runs"
    try:
        on_all(there, lambda instance: pauser.pause(instance, deadline), AT_ONCE).all()
    except (DriverFailed, DeadlinePassed) as error:
        why = error.message
    seen = run.instances(step.colour, step.release)
    if on := tuple(i.name for i in seen if i.state == "running"):
        run.tell("note", text=f"{named(on)}: not paused, {why}")
    return {"paused": [i.name for i in seen if i.state == "paused"], "open": cut}

"""Users have left a release; what they left open there follows them, in portions."""

from __future__ import annotations

from typing import Any

from deployer.core.clock import Deadline
from deployer.engine.run import Drive
from deployer.planning.steps import Handover

EVERY = 0.5  # seconds between two portions


def hand_over(run: Drive, step: Handover, until: float, deadline: Deadline) -> dict[str, Any]:
    """Close WebSockets and tcp sessions on the place in equal portions until a moment; return how many were closed.

    It ends early when twice in a row none was there, as one that is being opened is no connection yet; and leaves the
    rest open when somebody waits for this rollout to end, or has moved users there again.
    """
    closed, none = 0, False
    while not (why := _not_now(run, step)):
        portions = int(max(0.0, until - run.clock.now()) / EVERY) + 1
        now = run.drivers.traffic.hand_over(run.service, step.colour, 1 / portions, deadline)
        closed += now
        if (portions == 1 and now) or (none and not now):
            return {"closed": closed}
        none = not now
        if now:
            run.clock.sleep(EVERY)
    run.tell("note", text=f"what is still open on r{step.release} ({step.colour}) stays open: {why}")
    return {"closed": closed, "left": why}


def _not_now(run: Drive, step: Handover) -> str:
    """Return why no more is to be closed, or nothing."""
    live = run.traffic.read()
    if live is None or step.colour in live.used:
        return "users are sent there again" if live else "the proxy does not know the service"
    if run.rollout.phase == "back" or not step.seconds:
        return ""
    return run.controls.awaits_end()

"""A rollback that comes late: users have just been brought back, by a verdict, a colleague, or the proxy."""

from __future__ import annotations

from deployer.app.operations.context import AppContext
from deployer.app.operations.control import follow, resume
from deployer.app.operations.execution import committed
from deployer.core.errors import Abandoned
from deployer.engine import RolloutResult
from deployer.planning.plan import ROLLBACK
from deployer.planning.rollback import LATE_SECONDS
from deployer.planning.steps import span


def under_way(house: AppContext, service: str) -> RolloutResult | None:
    """Follow a rollback that somebody else has begun to its end; go on with it where its process died."""
    rollout = house.store.rollouts.in_progress(service)
    if rollout is None or rollout.strategy != ROLLBACK or committed(house, rollout):
        return None
    house.tell(service, f"rollout {rollout.number}, a rollback by {rollout.started_by}, is in progress: following it")
    if house.store.locks.read(service) is None:
        return resume(house, service)
    try:
        return follow(house, rollout.number)
    except Abandoned:
        return resume(house, service)


def ended_lately(house: AppContext, service: str) -> RolloutResult | None:
    """Return the result that nobody is moved, if users were brought back lately; None where they were not."""
    since = brought_back(house, service)
    if not since:
        return None
    text = f"nothing was changed: {since}; `deploy rollback --again` rolls this one back, too, or `--to N`"
    house.tell(service, text)
    return RolloutResult.at_once(text)


def brought_back(house: AppContext, service: str) -> str:
    """Return what brought users back to the live release within the last minutes; "" where nothing did."""
    newest = next(iter(house.store.rollouts.of(service, 1)), None)
    if newest is None or newest.ended_at is None:
        return ""
    ago = house.clock.now() - newest.ended_at
    back = "done" if newest.strategy == ROLLBACK else "reverted"  # a rollback that was rolled back is to be tried again
    if newest.outcome != back or ago > LATE_SECONDS:
        return ""
    live = house.store.releases.get(service, house.store.services.get(service).stable)
    what = "was a rollback" if newest.strategy == ROLLBACK else f"of r{newest.release} was rolled back"
    where = f"everyone is on {live.name} since" if live.served else f"{live.name} is live"
    return f"rollout {newest.number} {what} {span(max(1, round(ago)))} ago, and {where}"

"""When a service may be adjusted again: at once after a calm time, else after a pause that grows. Pure.

All of it is read from what was recorded, so that another keeper, or one that was restarted, has the same patience.
"""

from __future__ import annotations

from collections.abc import Sequence

from deployer.planning.orders import ADMIT, EVICT, KEEP, SCALE, SLEEP
from deployer.store import DEPLOYER, Rollout

FIRST_SECONDS = 10.0  # after an adjustment that failed, or the second one within a short time; doubled each time
MOST_SECONDS = 3600.0
CALM_SECONDS = 600.0  # without an adjustment, after which what was before does not count
COUNTED = 30  # newest rollouts that say how long to wait: more than it takes to the longest pause


def not_before(newest_first: Sequence[Rollout]) -> float:
    """Return the moment before which the keeper does nothing to a service; 0 where it may at once.

    Given are its rollouts with the adjustments between them: what another one has done begins a new count.
    That a size followed the load counts only where it failed.
    """
    count, ended, pause = 0, 0.0, 0.0
    for rollout in reversed(newest_first):
        follows = rollout.strategy in (SCALE, SLEEP, EVICT, ADMIT)  # the load, or the room for a guest
        if follows and rollout.started_by == DEPLOYER and rollout.outcome == "done":
            continue
        own = rollout.strategy == KEEP or rollout.started_by == DEPLOYER
        if not own or not rollout.adjusts:
            count, ended, pause = 0, 0.0, 0.0
            continue
        calm = bool(ended) and rollout.started_at - ended > pause + CALM_SECONDS
        count = 1 if calm else count + 1
        ended = rollout.ended_at or rollout.started_at
        pause = (
            0.0 if count == 1 and rollout.outcome == "done" else min(FIRST_SECONDS * 2.0 ** (count - 1), MOST_SECONDS)
        )
    return ended + pause if pause else 0.0

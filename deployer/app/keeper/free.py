"""Whether a service may be adjusted now."""

from __future__ import annotations

from deployer.app.operations import AppContext
from deployer.app.pauses import COUNTED, not_before


def is_free(house: AppContext, service: str) -> bool:
    """Return whether nobody is at work on a service, and the pause after its last adjustment is over."""
    store = house.store
    if store.rollouts.in_progress(service) is not None or store.locks.read(service) is not None:
        return False
    return house.clock.now() >= not_before(store.rollouts.of(service, COUNTED, adjustments=True))

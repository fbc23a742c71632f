"""Which guests were evicted and have not come back, as the records have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core.clock import stamp
from deployer.core.errors import Refused
from deployer.planning.orders import ADMIT, EVICT
from deployer.store import DEPLOYER

if TYPE_CHECKING:
    from deployer.store import Store

COMES_BACK = "`deploy evict --end` lets it in; whom the keeper evicted comes back when there is room"


@dataclass(frozen=True)
class Eviction:
    """That a guest was evicted: when, by whom, why, and until when (0: until it is let in, or there is room)."""

    service: str
    at: float
    by: str
    reason: str
    until: float

    @property
    def by_person(self) -> bool:
        """Whether a person wanted it: then nobody but a person, or its time, ends it."""
        return self.by != DEPLOYER

    @property
    def text(self) -> str:
        """Return it in words."""
        until = f" until {stamp(self.until)}" if self.until else ""
        return f"evicted{until}, since {stamp(self.at)}, by {self.by}: {self.reason}"


def eviction(store: Store, service: str) -> Eviction | None:
    """Return the eviction of a service that stands; None where it may run."""
    last = store.rollouts.newest_done(service, (EVICT, ADMIT))
    if last is None or last.strategy != EVICT:
        return None
    from deployer.planning.guest_steps import Evict  # which guests alone have

    until = max((step.until for step in last.plan.forward if isinstance(step, Evict)), default=0.0)
    return Eviction(last.service, last.started_at, last.started_by, last.message, until)


def refuse_evicted(store: Store, service: str) -> None:
    """Raise Refused for a guest that was evicted: nothing of it is started before it is let in again."""
    if found := eviction(store, service):
        raise Refused(f"{service} is {found.text}", COMES_BACK)

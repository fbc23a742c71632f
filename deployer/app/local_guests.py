"""What is done with the guests of a state folder of this host together."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.planning.orders import StopRequest

if TYPE_CHECKING:
    from deployer.app.operations import evict as operations
    from deployer.app.operations.context import AppContext
    from deployer.core.events import Sink
    from deployer.planning.orders import RolloutResult
else:
    operations = later.module("deployer.app.operations.evict")


@dataclass(frozen=True)
class LocalGuests:
    """Does it with a context of its own."""

    opener: Callable[[Sink, StopRequest], AbstractContextManager[AppContext]]

    def evict(
        self, tenant: str, reason: str, sink: Sink, *, now: bool = False, seconds: float = 0.0
    ) -> dict[str, RolloutResult]:
        """Evict guests, `now` or with the time that they have, for so many seconds (0: until they are let in)."""
        with self.opener(sink, StopRequest()) as context:
            return _by_service(context, operations.evict(context, tenant, reason, now=now, seconds=seconds))

    def admit(self, tenant: str, reason: str, sink: Sink) -> dict[str, RolloutResult]:
        """Let guests come back that were evicted."""
        with self.opener(sink, StopRequest()) as context:
            return _by_service(context, operations.admit(context, tenant, reason))


def _by_service(context: AppContext, ended: Iterable[RolloutResult]) -> dict[str, RolloutResult]:
    return {context.store.rollouts.get(each.rollout).service: each for each in ended}

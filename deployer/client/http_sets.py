"""What is asked about sets of services at a server, as of an App."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.client.sets import ClientSets
from deployer.core.errors import Refused
from deployer.views.progress import ProposedView

if TYPE_CHECKING:
    from deployer.client.orders import Orders
    from deployer.core.events import Sink
    from deployer.manifest.target import Target
    from deployer.planning.orders import Order, RolloutResult, StopRequest


@dataclass(frozen=True)
class HttpSets(ClientSets):
    """Plans and follows, too. `given` completes an order with the files that are meant."""

    orders: Orders
    target: Target
    given: Callable[[Order], Order]

    def meant(self) -> str:
        """Return the set that is meant where none is named."""
        found = self.target.set_of(self.names, os.environ)
        if not found:
            raise Refused(
                f"{self.client.calls.server.url} has no set of services that the token may see",
                "`deploy release up --set NAME` releases one of which the server has the release file",
            )
        return found

    def plan(self, order: Order) -> tuple[ProposedView, ...]:
        """Return what the release of a set would do to each service, and change nothing."""
        plans: dict[str, Any] = (self.orders.plan(self.given(order)).plan or {}).get("services", {})
        return tuple(self.client.plan_of(plans[service]) for service in sorted(plans))

    def follow(self, name: str, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Send the events of the release of a set in progress to `sink` until it ends or pauses; return how.

        Once `stop` is asked for, it is not followed any more, and goes on.
        Raise Refused when none is in progress, Abandoned when its process is gone.
        """
        return self.orders.follow_set(name, sink, stop)

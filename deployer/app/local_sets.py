"""What is asked about sets of services, on a state folder of this host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.errors import Refused

if TYPE_CHECKING:
    from deployer.app import sets
    from deployer.app.operations.context import AppContext
    from deployer.core.events import Sink
    from deployer.manifest.target import Target
    from deployer.planning.orders import Order, RolloutResult, StopRequest
    from deployer.views.progress import ProposedView
    from deployer.views.set_data import SetsView, SetView
else:
    sets = later.module("deployer.app.sets")


@dataclass(frozen=True)
class LocalSets:
    """Answers by what `context` gives for queries; orders and rollouts that are followed get one of their own."""

    target: Target
    environ: Mapping[str, str]
    context: Callable[[], AppContext]
    opener: Callable[[Sink, StopRequest], AbstractContextManager[AppContext]]

    def meant(self) -> str:
        """Return the set that is meant where none is named."""
        found = self.target.set_of(self.names, self.environ)
        if not found:
            raise Refused(
                f"no set was released from {self.context().store.folder} yet, and there is no {self.target.file}",
                "-f FILE names the release file",
            )
        return found

    def names(self) -> tuple[str, ...]:
        """Return the names of all sets."""
        return self.context().store.sets.names()

    def status(self, name: str) -> SetView:
        """Return how far the newest release of a set is."""
        return sets.status(self.context(), name)

    def history(self, name: str, limit: int = 20) -> SetsView:
        """Return the releases of a set, the newest first."""
        return sets.history(self.context(), name, limit)

    def plan(self, order: Order) -> tuple[ProposedView, ...]:
        """Return what the release of a set would do to each service, and change nothing."""
        return sets.plan(self.context(), order, self.environ)

    def follow(self, name: str, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Send the events of the release of a set in progress to `sink` until it ends or pauses; return how.

        Once `stop` is asked for, it is not followed any more, and goes on.
        Raise Refused when none is in progress, Abandoned when its process is gone.
        """
        from deployer.app.operations.sets import follow_set

        with self.opener(sink, stop) as context:
            return follow_set(context, name)

    def carry_out(self, order: Order, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Carry an order for a set out, as `App.carry_out` does."""
        # One that is refused needs no state folder.
        request = sets.request_of(order, self.environ) if order.action == "start" else None
        with self.opener(sink, stop) as context:
            return sets.carry_out(context, order, self.environ, request)

"""All that a command, a route, a run or a follower of a branch may ask: queries, plan, carry out, follow.

Implemented by `app/local.py` on a state folder, by `client/http_app.py` on a server, and by `client/ssh_app.py` on a
control host. All three return the same views and results, and raise the same errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployer.core.events import Event, Sink
    from deployer.planning.orders import Order, RolloutResult, StopRequest
    from deployer.views.cost_data import CostView
    from deployer.views.data import AuditView, HistoryView, JobsView, ReleasesView, RolloutView, StatusView
    from deployer.views.logs import LogsView
    from deployer.views.progress import ProposedView
    from deployer.views.report.data import ReportView
    from deployer.views.set_data import SetsView, SetView


class Queries(Protocol):
    """Answers questions and changes nothing. Each raises Refused for what does not exist."""

    def service(self) -> str:
        """Return the service that is meant where none is named."""
        ...

    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""
        ...

    def newest(self, service: str) -> int:
        """Return the number of the newest rollout of a service."""
        ...

    def in_progress(self, service: str) -> int:
        """Return the number of the rollout in progress of a service."""
        ...

    def status(self, service: str) -> StatusView:
        """Return what is live now."""
        ...

    def history(self, service: str, limit: int = 20) -> HistoryView:
        """Return the rollouts of a service, the newest first."""
        ...

    def cost(self, service: str, since: float, until: float) -> CostView:
        """Return what a service cost between two moments, in instance-hours."""
        ...

    def releases(self, service: str) -> ReleasesView:
        """Return the releases of a service, the newest first."""
        ...

    def show(self, rollout: int) -> RolloutView:
        """Return a rollout in full: steps, journal, events."""
        ...

    def events(self, rollout: int) -> tuple[Event, ...]:
        """Return the events of a rollout so far."""
        ...

    def report(self, rollout: int) -> ReportView:
        """Return the report of a rollout."""
        ...

    def audit(self, limit: int = 20, service: str = "") -> AuditView:
        """Return records of the audit log, the newest first; of all services where none is named."""
        ...

    def jobs(self, service: str) -> JobsView:
        """Return the scheduled jobs of a service, and their last runs."""
        ...

    def logs(self, service: str, lines: int, colour: str = "", job: str = "") -> LogsView:
        """Return the last lines of the instances, of all environments where no colour is named.

        With a job, those of its newest run that has ended.
        """
        ...


class SetsApp(Protocol):
    """Answers questions about services that are released together, and follows their release."""

    def meant(self) -> str:
        """Return the set that is meant where none is named."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names of all sets."""
        ...

    def status(self, name: str) -> SetView:
        """Return how far the newest release of a set is."""
        ...

    def history(self, name: str, limit: int = 20) -> SetsView:
        """Return the releases of a set, the newest first."""
        ...

    def plan(self, order: Order) -> tuple[ProposedView, ...]:
        """Return what the release of a set would do to each service, and change nothing."""
        ...

    def follow(self, name: str, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Send the events of the release of a set in progress to `sink` until it ends or pauses; return how.

        Once `stop` is asked for, it is not followed any more, and goes on.
        Raise Refused when none is in progress, Abandoned when its process is gone.
        """
        ...


class GuestsApp(Protocol):
    """Has guests go, and lets them in again, all of a tenant ("" for all tenants) at the same time.

    Both return how that of each service ended, and raise Refused where there is none; `sink` gets what happens.
    """

    def evict(
        self, tenant: str, reason: str, sink: Sink, *, now: bool = False, seconds: float = 0.0
    ) -> Mapping[str, RolloutResult]:
        """Evict guests, `now` or with the time that they have, for so many seconds (0: until they are let in)."""
        ...

    def admit(self, tenant: str, reason: str, sink: Sink) -> Mapping[str, RolloutResult]:
        """Let guests come back that were evicted."""
        ...


class App(Queries, Protocol):
    """Answers questions, and has orders carried out; an order that names no service is for the one that is meant."""

    @property
    def sets(self) -> SetsApp:
        """What is asked about sets of services; an order with `set_name` is for one."""
        ...

    @property
    def guests(self) -> GuestsApp:
        """What is done with the services of tenants together; an order `evict` or `admit` is for one."""
        ...

    def plan(self, order: Order) -> ProposedView:
        """Return the plan of a deploy, and change nothing."""
        ...

    def carry_out(self, order: Order, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Carry an order out and return its ending; `sink` gets what happens. Raise the error with which it ended."""
        ...

    def follow(self, rollout: int, sink: Sink, after: int = 0) -> RolloutResult:
        """Send the events of a rollout after an id to `sink` until it ends or pauses; return how.

        Raise Abandoned when its process is gone.
        """
        ...

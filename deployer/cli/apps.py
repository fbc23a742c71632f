"""Where rollouts are, as commands ask it: the state folder of this host, a server, or a control host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from deployer.cli.pipeline import PipelineReports
    from deployer.planning.orders import Order, RolloutResult
    from deployer.views.data import AuditView, HistoryView, PlanView, ReleasesView, RolloutView, StatusView
    from deployer.views.logs import LogsView
    from deployer.views.report.data import ReportView


@dataclass(frozen=True)
class Proposed:
    """What a deploy would do, and whether that is live already."""

    plan: PlanView
    same: bool


class Queries(Protocol):
    """Answers questions; changes nothing. Each raises Refused for what there is not."""

    def service(self) -> str:
        """Name the service that the command means."""
        ...

    def services(self) -> tuple[str, ...]:
        """Name all services."""
        ...

    def newest(self, service: str) -> int:
        """Give the number of the newest rollout of a service."""
        ...

    def status(self, service: str) -> StatusView:
        """Tell what is live now."""
        ...

    def history(self, service: str, limit: int) -> HistoryView:
        """List the rollouts of a service."""
        ...

    def releases(self, service: str) -> ReleasesView:
        """List the releases of a service."""
        ...

    def show(self, number: int) -> RolloutView:
        """Tell a rollout in full."""
        ...

    def report(self, number: int) -> ReportView:
        """Give the report of a rollout."""
        ...

    def audit(self, limit: int, service: str) -> AuditView:
        """List records of the audit log, of all services where none is named."""
        ...

    def logs(self, service: str, lines: int, colour: str) -> LogsView:
        """Give the last lines of the instances, of all colours where none is named."""
        ...


class Commands(Protocol):
    """Has orders carried out, and shows what happens; an order that names no service is for the one that is meant."""

    def propose(self, order: Order) -> Proposed:
        """Give the plan of a deploy, and change nothing."""
        ...

    def act(self, order: Order, told: PipelineReports | None = None) -> RolloutResult:
        """Carry an order out under a view; `told` hears of it. Raises the error with which it ended."""
        ...

    def watch(self) -> RolloutResult | None:
        """Show the rollout that is in progress until it ends; None when whoever looks has left."""
        ...


class App(Queries, Commands, Protocol):
    """All that a command may ask."""

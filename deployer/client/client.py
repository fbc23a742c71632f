"""Questions to a server: the answers are the same views that a state folder gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from deployer import __version__
from deployer.client.calls import PATIENCE, Calls
from deployer.core.errors import NoServer, NothingInProgress, Refused
from deployer.views.cost_data import CostView
from deployer.views.data import AuditView, HistoryView, JobsView, PlanView, ReleasesView, RolloutView, StatusView
from deployer.views.logs import LogsView
from deployer.views.progress import ProposedView, RolloutState, RunAnswer, ServiceRow, ServicesAnswer
from deployer.views.report.data import ReportView

T = TypeVar("T")


class Client:
    """Asks a server. Each question raises Refused for what there is not, and NoServer."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def rows(self) -> tuple[ServiceRow, ...]:
        """List the services that the token sees."""
        return self.ask(ServicesAnswer, "/services").services

    def services(self) -> tuple[str, ...]:
        """Return the names of the services that the token sees."""
        return tuple(row.service for row in self.rows())

    def in_progress(self, service: str) -> int:
        """Return the number of the rollout in progress of a service."""
        found = next((row.rollout for row in self.rows() if row.service == service), 0)
        if not found:
            raise NothingInProgress(service)
        return found

    def newest(self, service: str) -> int:
        """Return the number of the newest rollout of a service."""
        rollouts = self.history(service, 1).rollouts
        if not rollouts:
            raise Refused(f"{service} has no rollouts yet", "`deploy up` makes the first")
        return rollouts[0].number

    def status(self, service: str) -> StatusView:
        """Return what is live now."""
        return self.ask(StatusView, f"/services/{service}")

    def history(self, service: str, limit: int = 20) -> HistoryView:
        """List the rollouts of a service."""
        return self.ask(HistoryView, f"/services/{service}/rollouts", limit=limit)

    def cost(self, service: str, since: float, until: float) -> CostView:
        """Return what a service cost between two moments, in instance-hours."""
        return self.ask(CostView, f"/services/{service}/cost", since=since, until=until)

    def releases(self, service: str) -> ReleasesView:
        """List the releases of a service."""
        return self.ask(ReleasesView, f"/services/{service}/releases")

    def show(self, rollout: int) -> RolloutView:
        """Return a rollout in full."""
        return self.ask(RolloutView, f"/rollouts/{rollout}")

    def report(self, rollout: int) -> ReportView:
        """Return the report of a rollout."""
        return self.ask(ReportView, f"/rollouts/{rollout}/report", format="json")

    def audit(self, limit: int = 20, service: str = "") -> AuditView:
        """List records of the audit log, of all services where none is named."""
        return self.ask(AuditView, f"/services/{service}/audit" if service else "/audit", limit=limit)

    def jobs(self, service: str) -> JobsView:
        """Return the scheduled jobs of a service, and their last runs."""
        return self.ask(JobsView, f"/services/{service}/jobs")

    def logs(self, service: str, lines: int, colour: str = "", job: str = "") -> LogsView:
        """Return the last lines of the instances (of a colour), or of the newest run of a job that has ended."""
        only: dict[str, Any] = {name: value for name, value in (("colour", colour), ("job", job)) if value}
        return self.ask(LogsView, f"/services/{service}/logs", lines=lines, **only)

    def state(self, rollout: int, patience: float = PATIENCE) -> RolloutState:
        """Return how far a rollout is."""
        return self._read(RolloutState, self.calls.get(f"/rollouts/{rollout}/state", patience=patience))

    def run(self, run: RunAnswer, patience: float = PATIENCE) -> RunAnswer:
        """Return how far an order is now."""
        place = place_of(run.service, run.set_name)
        return self._read(RunAnswer, self.calls.get(f"{place}/runs/{run.id}", patience=patience))

    def give(self, place: str, action: str, body: Mapping[str, Any]) -> RunAnswer:
        """Send an order to what is at a place."""
        return self._read(RunAnswer, self.calls.post(f"{place}/{action}", body))

    def plan_of(self, data: Mapping[str, Any] | None) -> ProposedView:
        """Read a plan that a run was asked for."""
        return ProposedView(self._read(PlanView, data), bool((data or {}).get("same")))

    def ask(self, kind: type[T], path: str, patience: float = PATIENCE, **query: str | float) -> T:
        """Ask a question whose answer is of a kind."""
        return self._read(kind, self.calls.get(path, query, patience))

    def _read(self, kind: type[T], data: Any) -> T:
        try:
            found: T = _adapter(kind).validate_python(data)
            return found
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            url, what = self.calls.server.url, f"{kind.__name__}, {where}"
            raise NoServer(
                f"{url} sent a response that deployer {__version__} does not understand: {what}",
                "use the same version on both sides",
            ) from None


def place_of(service: str, set_name: str) -> str:
    """Return where the API has a service, or a set of them."""
    return f"/sets/{set_name}" if set_name else f"/services/{service}"


_adapters: dict[type[Any], TypeAdapter[Any]] = {}  # to make one takes longer than to use it


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]

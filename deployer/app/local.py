"""`App` on a state folder of this host."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from deployer.core import later
from deployer.core.errors import Refused
from deployer.core.events import Event, Sink
from deployer.manifest.target import Target
from deployer.planning.orders import Order, RolloutResult, StopRequest

if TYPE_CHECKING:
    from deployer.app import local_guests, local_sets, queries, status
    from deployer.app.operations.context import AppContext
    from deployer.app.operations.deploy_request import DeployRequest
    from deployer.views.cost_data import CostView
    from deployer.views.data import AuditView, HistoryView, JobsView, ReleasesView, RolloutView, StatusView
    from deployer.views.logs import LogsView
    from deployer.views.progress import ProposedView
    from deployer.views.report.data import ReportView
else:
    _NAMES = ("local_guests", "local_sets", "queries", "status")
    local_guests, local_sets, queries, status = (later.module(f"deployer.app.{name}") for name in _NAMES)

Opener = Callable[[Sink, StopRequest], AbstractContextManager["AppContext"]]


def at(state: Path) -> Opener:
    """Return what opens a state folder, when it is needed."""

    def opened(sink: Sink, stop: StopRequest) -> AppContext:
        from deployer.app.wiring import open_house

        return open_house(state, sink, stop)

    return opened


def service_meant(target: Target, house: AppContext) -> str:
    """Return the service of a state folder that is meant."""
    found = target.service_of(lambda: [s.name for s in house.store.services.all()])
    if not found:
        raise Refused(
            f"nothing was deployed from {house.store.folder} yet", "`deploy up` deploys, --state names another folder"
        )
    return found


class LocalApp:
    """Answers from a state folder, which is opened once for queries and closed before an order is carried out."""

    def __init__(self, opener: Opener, target: Target | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self._opener, self._target, self._environ = opener, target or Target(), environ
        self.sets = later.made(lambda: local_sets.LocalSets(self._target, environ, lambda: self.context, opener))
        self.guests = later.made(lambda: local_guests.LocalGuests(opener))
        self._opened = ExitStack()
        self._quiet: AppContext | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def context(self) -> AppContext:
        """What the queries read."""
        if self._quiet is None:
            self._quiet = self._opened.enter_context(self._opener(lambda _event: None, StopRequest()))
        return self._quiet

    def _close(self) -> None:
        self._quiet = None
        self._opened.close()

    # -- queries

    def service(self) -> str:
        """Return the service that is meant where none is named."""
        return service_meant(self._target, self.context)

    def services(self) -> tuple[str, ...]:
        """Return the names of all services."""
        return queries.services(self.context)

    def newest(self, service: str) -> int:
        """Return the number of the newest rollout of a service."""
        return queries.newest(self.context, service)

    def in_progress(self, service: str) -> int:
        """Return the number of the rollout in progress of a service."""
        return queries.in_progress(self.context, service)

    def status(self, service: str) -> StatusView:
        """Return what is live now."""
        return status.status_of(self.context, service)

    def history(self, service: str, limit: int = 20) -> HistoryView:
        """Return the rollouts of a service, the newest first."""
        return queries.history(self.context, service, limit)

    def cost(self, service: str, since: float, until: float) -> CostView:
        """Return what a service cost between two moments, in instance-hours."""
        from deployer.app.cost import cost

        return cost(self.context, service, since, until)

    def releases(self, service: str) -> ReleasesView:
        """Return the releases of a service, the newest first."""
        return queries.releases(self.context, service)

    def show(self, rollout: int) -> RolloutView:
        """Return a rollout in full: steps, journal, events."""
        return queries.show(self.context, rollout)

    def events(self, rollout: int) -> tuple[Event, ...]:
        """Return the events of a rollout so far."""
        return self.context.store.events.of(rollout)

    def report(self, rollout: int) -> ReportView:
        """Return the report of a rollout."""
        from deployer.app.reports.gather import gather

        return gather(self.context, self.show(rollout))

    def audit(self, limit: int = 20, service: str = "") -> AuditView:
        """Return records of the audit log, the newest first; of all services where none is named."""
        return queries.audit(self.context, limit, service)

    def jobs(self, service: str) -> JobsView:
        """Return the scheduled jobs of a service, and their last runs."""
        from deployer.app.jobs.overview import overview

        queries.drivers_of(self.context, service)
        return overview(self.context, service)

    def logs(self, service: str, lines: int, colour: str = "", job: str = "") -> LogsView:
        """Return the last lines of the instances, of all environments where no colour is named.

        With a job, those of its newest run that has ended.
        """
        from deployer.app.instance_logs import job_logs, logs

        return job_logs(self.context, service, lines, job) if job else logs(self.context, service, lines, colour)

    # -- orders

    def plan(self, order: Order) -> ProposedView:
        """Return the plan of a deploy, and change nothing."""
        from deployer.app.operations.deployment import propose
        from deployer.app.plans import explain
        from deployer.views.progress import ProposedView

        found = propose(self.context, _request(self.context, order, self._environ))
        return ProposedView(explain(found), found.same)

    def carry_out(self, order: Order, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Carry an order out and return its ending; `sink` gets what happens. Raise the error with which it ended."""
        self._close()
        if order.set_name:
            return self.sets.carry_out(order, sink, stop)
        if order.action == "start":
            from deployer.app.operations.deployment import deploy

            # One that is refused needs no state folder.
            request = None if order.bundle else _request(None, order, self._environ)
            with self._opener(sink, stop) as context:
                request = request or _request(context, order, self._environ)
                service = request.loaded.manifest.service
                ending = _certified(context, deploy(context, request), service)
                warm = "warm" in request.loaded.manifest.keep.model_fields_set
                _tell_unattended(context, service, warm=warm)
                return ending
        if order.action == "run":
            from deployer.app.jobs.runs import run_now

            with self._opener(sink, stop) as context:
                return run_now(context, order.service or service_meant(self._target, context), order.job, order.reason)
        from deployer.app.operations.dispatch import perform

        with self._opener(sink, stop) as context:
            service = order.service or service_meant(self._target, context)
            ended = perform(context, replace(order, service=service))
            store = context.store
            sized = store.sizes.get(service) is not None or store.needs.get(service) is not None
            if order.action == "rollback" and ended.outcome == "done" and sized:
                from deployer.app.operations.adjust import regrown

                regrown(context, service)
            return _certified(context, ended, service) if order.action in ("resume", "promote") else ended

    def follow(self, rollout: int, sink: Sink, after: int = 0) -> RolloutResult:
        """Send the events of a rollout after an id to `sink` until it ends or pauses; return how.

        Raise Abandoned when its process is gone.
        """
        from deployer.app.live_numbers import LiveFollower
        from deployer.app.operations.control import follow

        self._close()
        with self._opener(sink, StopRequest()) as context:
            service = context.store.rollouts.get(rollout).service
            with LiveFollower(context, service, rollout):
                return follow(context, rollout, after=after)


def _request(context: AppContext | None, order: Order, environ: Mapping[str, str]) -> DeployRequest:
    """Return the request that an order makes of its manifest, or of its bundle, which is brought to `context`."""
    if order.bundle and context is not None:
        from deployer.app.bundles.install import request_from

        return request_from(context, order, environ)
    from deployer.app.operations.dispatch import request_of

    return request_of(order, environ)


def _certified(context: AppContext, result: RolloutResult, service: str) -> RolloutResult:
    """Have certificates ordered that are due after a release came out; only where some are got by themselves."""
    number = context.store.services.get(service).stable
    if not number or context.store.releases.get(service, number).manifest.traffic.tls is None:
        return result
    from deployer.app.operations.certificates import certified

    return certified(context, result, service)


def _tell_unattended(house: AppContext, service: str, *, warm: bool) -> None:
    """Report after a deploy which keys of the manifest ask for what nobody does between deploys."""
    from deployer.app.keeper.outlook import unattended

    if text := unattended(house, service, warm=warm):
        house.tell(service, text)

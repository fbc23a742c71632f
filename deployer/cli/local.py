"""The state folder of this host, as commands ask it. What answers questions is imported when one is asked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from deployer.cli.apps import Proposed
from deployer.cli.options import Common
from deployer.cli.output import open_view
from deployer.cli.service import service_of
from deployer.cli.session import house
from deployer.core.errors import Refused

if TYPE_CHECKING:
    from deployer.app.operations import AppContext
    from deployer.cli.pipeline import PipelineReports
    from deployer.planning.orders import Order, RolloutResult
    from deployer.views.data import AuditView, HistoryView, ReleasesView, RolloutView, StatusView
    from deployer.views.logs import LogsView
    from deployer.views.report.data import ReportView


class LocalApp:
    """Asks the house of a state folder; the one for questions is opened once, and closed before anything is done."""

    def __init__(self, common: Common) -> None:
        self._common = common
        self._opened = ExitStack()
        self._house: AppContext | None = None

    @classmethod
    @contextmanager
    def open(cls, common: Common) -> Iterator[Self]:
        """Have it, and close what it opened."""
        made = cls(common)
        with made._opened:
            yield made

    def _quiet(self) -> AppContext:
        if self._house is None:
            self._house = self._opened.enter_context(house(self._common, view=False))
        return self._house

    def _close(self) -> None:
        self._house = None
        self._opened.close()

    # -- questions

    def service(self) -> str:
        """Name the service that the command means."""
        return service_of(self._common, self._quiet())

    def services(self) -> tuple[str, ...]:
        """Name all services."""
        from deployer.app import queries

        return queries.services(self._quiet())

    def newest(self, service: str) -> int:
        """Give the number of the newest rollout of a service."""
        from deployer.app import queries

        return queries.newest(self._quiet(), service)

    def status(self, service: str) -> StatusView:
        """Tell what is live now."""
        from deployer.app import queries

        return queries.status(self._quiet(), service)

    def history(self, service: str, limit: int) -> HistoryView:
        """List the rollouts of a service."""
        from deployer.app import queries

        return queries.history(self._quiet(), service, limit)

    def releases(self, service: str) -> ReleasesView:
        """List the releases of a service."""
        from deployer.app import queries

        return queries.releases(self._quiet(), service)

    def show(self, number: int) -> RolloutView:
        """Tell a rollout in full."""
        from deployer.app import queries

        return queries.show(self._quiet(), number)

    def report(self, number: int) -> ReportView:
        """Give the report of a rollout."""
        return _report(self._quiet(), number)

    def audit(self, limit: int, service: str) -> AuditView:
        """List records of the audit log, of all services where none is named."""
        from deployer.app import queries

        return queries.audit(self._quiet(), limit, service)

    def logs(self, service: str, lines: int, colour: str) -> LogsView:
        """Give the last lines of the instances, of all colours where none is named."""
        from deployer.app.instance_logs import logs

        return logs(self._quiet(), service, lines, colour)

    # -- orders

    def propose(self, order: Order) -> Proposed:
        """Give the plan of a deploy, and change nothing."""
        from deployer.app import queries
        from deployer.app.operations.dispatch import proposed

        found = proposed(self._quiet(), order, os.environ)
        return Proposed(queries.explain(found), found.same)

    def act(self, order: Order, told: PipelineReports | None = None) -> RolloutResult:
        """Carry an order out under a view; `told` hears of it. Raises the error with which it ended."""
        self._close()
        do = self._start(order, told) if order.action == "start" else self._wish(order)
        with house(self._common, reports=told) as opened:
            if told is None:
                return do(opened)
            return told.of(lambda number: _report(opened, number), lambda: do(opened))

    def _start(self, order: Order, told: PipelineReports | None) -> Callable[[AppContext], RolloutResult]:
        from deployer.app.operations.deployment import deploy
        from deployer.app.operations.dispatch import request_of

        request = request_of(order, os.environ)  # a manifest that is refused needs no state folder
        if told is not None:
            told.service = request.loaded.manifest.service
        return lambda opened: deploy(opened, request)

    def _wish(self, order: Order) -> Callable[[AppContext], RolloutResult]:
        from deployer.app.operations.dispatch import perform

        def do(opened: AppContext) -> RolloutResult:
            service = order.service or service_of(self._common, opened)
            return perform(opened, replace(order, service=service), os.environ)

        return do

    def watch(self) -> RolloutResult | None:
        """Show the rollout that is in progress until it ends; None when whoever looks has left."""
        from deployer.app.live_numbers import LiveFollower
        from deployer.app.operations.control import follow
        from deployer.app.wiring import open_house

        name = self.service()
        rollout = self._quiet().store.open_rollout(name)
        if rollout is None:
            raise Refused(f"{name} has no rollout in progress", "`deploy history` lists the finished ones")
        history = self._quiet().store.events(rollout.number)
        self._close()
        with (
            open_view(self._common.output, history=history) as sink,
            open_house(self._common.state, sink) as opened,
            suppress(KeyboardInterrupt),
            LiveFollower(opened, name, rollout.number),
        ):
            return follow(opened, rollout.number, after=history[-1].id if history else 0)
        return None


def _report(opened: AppContext, number: int) -> ReportView:
    from deployer.app import queries
    from deployer.app.reports.gather import gather

    return gather(opened, queries.show(opened, number))

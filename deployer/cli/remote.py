"""A server, as commands ask it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from deployer.cli.apps import Proposed
from deployer.cli.interrupts import decide
from deployer.cli.options import Common
from deployer.cli.output import open_view
from deployer.cli.service import meant
from deployer.cli.session import signals
from deployer.client.address import DeployServer
from deployer.client.calls import Calls, session_of
from deployer.client.client import Client, RemoteRun
from deployer.client.orders import Orders
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.manifest.fingerprint import fingerprint
from deployer.planning.orders import Choice, Order, RolloutResult

if TYPE_CHECKING:
    from deployer.cli.pipeline import PipelineReports
    from deployer.core.events import Event


class HttpApp(Client):
    """Asks a server, and shows its events in the views of this terminal."""

    def __init__(self, common: Common, calls: Calls) -> None:
        super().__init__(calls)
        self._common = common
        self._orders = Orders(self)

    @classmethod
    @contextmanager
    def open(cls, common: Common, server: DeployServer) -> Iterator[Self]:
        """Have it, and close its connections."""
        calls = Calls(server, session_of(server.token(os.environ)), SystemClock())
        try:
            yield cls(common, calls)
        finally:
            calls.close()

    def service(self) -> str:
        """Name the service that the command means."""
        found = meant(self._common, self.services)
        if not found:
            raise Refused(
                f"{self.calls.server.url} has no service that the token may see",
                "`deploy up --service NAME` deploys one of which the server has the manifest",
            )
        return found

    def services(self) -> tuple[str, ...]:
        """Name all services."""
        return tuple(row.service for row in self.rows())

    def propose(self, order: Order) -> Proposed:
        """Give the plan of a deploy, and change nothing."""
        run = self._orders.plan(self._meant(order))
        return Proposed(self.plan_of(run), bool((run.plan or {}).get("same")))

    def act(self, order: Order, told: PipelineReports | None = None) -> RolloutResult:
        """Carry an order out under a view; `told` hears of it. Raises the error with which it ended."""
        order, stop, url = self._meant(order), threading.Event(), self.calls.server.url
        if order.action in ("down", "release-lock") and not order.reason:
            raise Refused(f"{url} does {order.action} only with a reason", 'say why: -m "reason"')
        if told is not None:
            told.service = order.service
        with open_view(self._common.output) as sink, signals(stop) as heard:

            def seen(event: Event) -> None:
                if told is not None:
                    told.see(event)
                sink(event)

            def asked(run: RemoteRun) -> Choice:
                return decide(self._common, heard, stop, sink, url, run)

            def do() -> RolloutResult:
                return self._orders.carry_out(order, seen, stop, asked)

            return do() if told is None else told.of(self.report, do)

    def watch(self) -> RolloutResult | None:
        """Show the rollout that is in progress until it ends; None when whoever looks has left."""
        number = self.under_way(self.service())
        with suppress(KeyboardInterrupt):
            history = self._orders.history(number)
            with open_view(self._common.output, history=history) as sink:
                return self._orders.follow(number, sink, history[-1].id if history else 0)
        return None

    def _meant(self, order: Order) -> Order:
        """Give the order with its service, and with the manifest that is meant, if it is for one."""
        order = replace(order, service=order.service or self.service())
        return self._with_manifest(order) if order.action in ("start", "plan") else order

    def _with_manifest(self, order: Order) -> Order:
        """Give the order with the manifest that lies here, if one does."""
        path = Path(order.manifest)
        here = self._common.named or (self._common.service is None and path.exists())
        return replace(order, fingerprint=fingerprint(path, order.destination) if here else "")

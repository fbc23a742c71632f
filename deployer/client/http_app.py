"""`App` on a server, by HTTP."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from deployer.client.address import DeployServer
from deployer.client.calls import Calls, session_of
from deployer.client.client import Client
from deployer.client.http_guests import HttpGuests
from deployer.client.http_sets import HttpSets
from deployer.client.orders import Orders
from deployer.core.clock import SystemClock
from deployer.core.errors import Refused
from deployer.core.events import Event, Sink
from deployer.manifest import release_file
from deployer.manifest.fingerprint import fingerprint
from deployer.manifest.target import Target
from deployer.planning.orders import Order, RolloutResult, StopRequest
from deployer.views.progress import ProposedView


class HttpApp(Client):
    """Asks a server, and follows what it does."""

    def __init__(self, calls: Calls, target: Target) -> None:
        super().__init__(calls)
        self._target = target
        self._orders = Orders(self)

    @classmethod
    @contextmanager
    def open(cls, server: DeployServer, target: Target) -> Iterator[Self]:
        """Have it, and close its connections."""
        calls = Calls(server, session_of(server.token(os.environ)), SystemClock())
        try:
            yield cls(calls, target)
        finally:
            calls.close()

    def service(self) -> str:
        """Return the service that is meant where none is named."""
        found = self._target.service_of(self.services)
        if not found:
            raise Refused(
                f"{self.calls.server.url} has no service that the token may see",
                "`deploy up --service NAME` deploys one of which the server has the manifest",
            )
        return found

    def events(self, rollout: int) -> tuple[Event, ...]:
        """Return the events of a rollout so far."""
        return self._orders.history(rollout)

    def plan(self, order: Order) -> ProposedView:
        """Return the plan of a deploy, and change nothing."""
        return self.plan_of(self._orders.plan(self._meant(order)).plan)

    def carry_out(self, order: Order, sink: Sink, stop: StopRequest) -> RolloutResult:
        """Have an order carried out and return its ending; `sink` gets what happens. Raise the error of its end."""
        order = self._meant(order)
        if order.action in ("down", "release-lock") and not order.reason:
            raise Refused(f"{self.calls.server.url} does {order.action} only with a reason", 'say why: -m "reason"')
        return self._orders.carry_out(order, sink, stop)

    def follow(self, rollout: int, sink: Sink, after: int = 0) -> RolloutResult:
        """Send the events of a rollout after an id to `sink` until it ends or pauses; return how.

        Raise Abandoned when its process is gone.
        """
        return self._orders.follow(rollout, sink, after)

    @property
    def sets(self) -> HttpSets:
        """What is asked about sets of services; an order with `set_name` is for one."""
        return HttpSets(self, self._orders, self._target, self._meant)

    @property
    def guests(self) -> HttpGuests:
        """What is done with the services of tenants together; an order `evict` or `admit` is for one."""
        return HttpGuests(self, self._orders)

    def _meant(self, order: Order) -> Order:
        """Return the order with its service, and with the manifest that is meant, if it is for one."""
        if not order.set_name:
            order = replace(order, service=order.service or self.service())
        return self._with_manifest(order) if order.action in ("start", "plan") else order

    def _with_manifest(self, order: Order) -> Order:
        """Return the order with the manifest that lies here, if one does."""
        return replace(order, fingerprint=fingerprint_of(order) if self._target.manifest_here else "")


def fingerprint_of(order: Order) -> str:
    """Return the fingerprint of the files here that an order is about."""
    if order.set_name:
        return release_file.fingerprint(Path(order.manifest), os.environ)
    return fingerprint(Path(order.manifest), order.destination)

"""What is done with guests at a server together: an order for each, all at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.planning.orders import Order, StopRequest
from deployer.planning.tenancy import nobody
from deployer.transport.fanout import on_all

if TYPE_CHECKING:
    from deployer.client.client import Client
    from deployer.client.orders import Orders
    from deployer.core.events import Sink
    from deployer.planning.orders import RolloutResult
    from deployer.views.progress import ServiceRow

AT_ONCE = 20  # services


@dataclass(frozen=True)
class HttpGuests:
    """Sends orders for the guests that the token sees."""

    client: Client
    orders: Orders

    def evict(
        self, tenant: str, reason: str, sink: Sink, *, now: bool = False, seconds: float = 0.0
    ) -> dict[str, RolloutResult]:
        """Evict guests, `now` or with the time that they have, for so many seconds (0: until they are let in)."""
        meant = [row.service for row in self._guests(tenant) if row.evicted != "person"]
        if not meant:
            raise nobody(tenant, "runs")
        return self._each(meant, lambda service: Order("evict", service, reason, now=now, seconds=seconds), sink)

    def admit(self, tenant: str, reason: str, sink: Sink) -> dict[str, RolloutResult]:
        """Let guests come back that were evicted."""
        meant = [row.service for row in self._guests(tenant) if row.evicted]
        if not meant:
            raise nobody(tenant, "is evicted")
        return self._each(meant, lambda service: Order("admit", service, reason), sink)

    def _guests(self, tenant: str) -> list[ServiceRow]:
        return [row for row in self.client.rows() if row.tenant and tenant in ("", row.tenant)]

    def _each(self, meant: list[str], order: Callable[[str], Order], sink: Sink) -> dict[str, RolloutResult]:
        def carried_out(service: str) -> RolloutResult:
            return self.orders.carry_out(order(service), sink, StopRequest())

        return on_all({each: each for each in meant}, carried_out, AT_ONCE).all()

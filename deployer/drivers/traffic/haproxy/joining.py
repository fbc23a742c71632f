"""A proxy begins to serve as others do: the servers come, users are moved, and only then what it had goes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from deployer.core.clock import Deadline
from deployer.core.errors import DeadlinePassed
from deployer.drivers.traffic.haproxy.spec import Spec
from deployer.model import Live, Server

if TYPE_CHECKING:
    from deployer.drivers.ports import Traffic

WARM_SECONDS = 5.0  # for servers that get no users to pass their checks


def move(traffic: Traffic, wanted: Spec, known: Spec | None, live: Live, deadline: Deadline) -> None:
    """Bring servers and users to where `wanted` and the live value have them.

    A proxy that has known the service serves on meanwhile: users leave its servers before these go.
    """
    service, clock = wanted.service, deadline.clock
    for place in wanted.places:
        servers = [Server(m.name, m.address) for m in wanted.side(place).members if not m.leaving]
        if servers and place in live.used:
            traffic.attach(service, place, servers, deadline)
        elif servers:  # where no user goes, a server that is down holds nothing up
            with suppress(DeadlinePassed):
                traffic.attach(service, place, servers, Deadline.after(clock, min(WARM_SECONDS, deadline.left())))
    traffic.set_traffic(service, live, deadline)
    for place in wanted.places if known else ():
        if former := sorted((known.names(place) if known else frozenset()) - wanted.names(place)):
            traffic.drain(service, place, former, Deadline.after(clock, deadline.left() / 2))
            traffic.detach(service, place, former, deadline)

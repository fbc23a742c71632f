"""`deploy drain`: ending by hand what is still open on releases that users have left."""

from __future__ import annotations

from deployer.app.operations.context import AppContext
from deployer.app.operations.execution import hands, locked
from deployer.core.clock import Deadline
from deployer.core.errors import Refused
from deployer.engine import RolloutResult
from deployer.model import PLACES
from deployer.planning.recipes import HANDOVER_SECONDS
from deployer.planning.steps import span
from deployer.store import AuditEntry


def drain_connections(house: AppContext, service: str, reason: str = "") -> RolloutResult:
    """Close WebSockets and tcp sessions where no users are sent, and wait until requests there have ended.

    Return how many were closed, and how many requests are open after `stop.drain`. Nobody who gets new requests is
    touched: of an unfinished rollout neither stable nor a candidate with a share.
    """
    with locked(house, service, "drain of open connections") as lock:
        releases = house.store.releases.of(service)
        drivers = hands(house, lock, house.drivers(releases[0])) if releases else None
        live = drivers.traffic.read(service) if drivers else None
        if drivers is None or live is None:
            raise Refused(f"{service} has no connections: the proxy does not know it", "`deploy status` lists what is")
        traffic, inspection = drivers.traffic, drivers.inspection
        left = [place for place in PLACES if place not in live.used]
        house.store.audit.record(AuditEntry("drain", service, "begun", release=releases[0].number, reason=reason), lock)

        def still_open() -> int:
            found = inspection.load(service)
            return sum(found[place].open for place in left if place in found)

        deadline = Deadline.after(house.clock, HANDOVER_SECONDS)
        closed = sum(traffic.hand_over(service, place, 1, deadline) for place in left) if still_open() else 0
        patience = releases[0].manifest.stop.drain
        Deadline.after(house.clock, patience).wait(lambda: house.stop.asked.is_set() or not still_open())
        text = _told(closed, still_open(), patience)
        house.store.audit.record(
            AuditEntry("drain", service, release=releases[0].number, detail=text, reason=reason), lock
        )
    return RolloutResult.at_once(text)


def _told(closed: int, requests: int, patience: float) -> str:
    were = "1 connection was closed" if closed == 1 else f"{closed} connections were closed"
    what = were if closed else "there was no connection to close"
    if not requests:
        return f"{what}; nothing is open where no users are sent"
    are = "1 request is" if requests == 1 else f"{requests} requests are"
    return f"{what}; {are} still open after {span(patience)}, and end with their release"

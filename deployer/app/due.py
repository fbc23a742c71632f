"""What is due of a live service between two rollouts, from what is recorded and what is seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.app.evictions import eviction
from deployer.drivers.ports import Drivers
from deployer.model import Colour, LostProxy, Observed, Release, Server
from deployer.planning.adjustment import Kept, adjustment, may_come_back, staying_away
from deployer.planning.orders import ADMIT, KEEP
from deployer.store import ServiceRecord

if TYPE_CHECKING:
    from deployer.app.operations.context import AppContext
    from deployer.planning.plan import Plan


def due(house: AppContext, drivers: Drivers, release: Release, observed: Observed, occasion: str = KEEP) -> Plan | None:
    """Return the plan of what is to be done now; None for nothing. Raise Refused where it is not clear what is live.

    Of a guest that was evicted only what is left of it is: that goes, too.
    """
    if release.manifest.tenant and occasion != ADMIT and eviction(house.store, release.service):
        return staying_away(observed, release)
    kept = kept_now(house.store.services.get(release.service), drivers.traffic.lost(release.service))
    known = _known(drivers, release, observed)
    return adjustment(observed, release, known, kept, house.clock.now(), occasion)


def may_pass(drivers: Drivers, release: Release, observed: Observed) -> bool:
    """Return whether what is missing of a release may be back in a moment without anybody's doing."""
    return may_come_back(observed, release, _known(drivers, release, observed))


def _known(drivers: Drivers, release: Release, observed: Observed) -> dict[str, Server]:
    """Return the proxy's servers of the live release, by name."""
    seen = drivers.traffic.servers(release.service, observed.live.stable) if observed.live else ()
    return {server.name: server for server, _ in seen}


def kept_now(record: ServiceRecord, lost: Sequence[LostProxy]) -> Kept | None:
    """Return the environment that is kept warm: for as long as is recorded, or a lost proxy may send users there."""
    if not record.warm or record.warm_colour not in ("blue", "green"):
        return None
    colour: Colour = "blue" if record.warm_colour == "blue" else "green"
    return Kept(record.warm, colour, max((record.warm_until, *(proxy.sends_to(colour) for proxy in lost))))

"""To whom hosts are lent, and what of them is live."""

from __future__ import annotations

from pathlib import Path

from deployer.app.operations import AppContext
from deployer.app.operations.guests import guests
from deployer.manifest import tenants
from deployer.views.guest_data import TenantsView, TenantView


def overview(house: AppContext, file: Path) -> TenantsView:
    """Return the tenants of a file, with what is live of each. Raise Refused."""
    live, now = guests(house), house.clock.now()
    rows = (
        TenantView(
            name=name,
            hosts=own.hosts,
            cpus=own.cpus,
            memory=own.memory,
            disk=own.disk or 0,
            pids=own.pids,
            most=own.services,
            services=tuple(sorted(release.service for release in live if release.manifest.tenant == name)),
            isolation=own.isolation,
            network=own.network,
            evict=own.evict,
            until=own.ends,
            refused=own.refused_at(now),
        )
        for name, own in tenants.read(file).tenants.items()
    )
    return TenantsView(str(file), tuple(rows))

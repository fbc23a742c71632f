"""To whom hosts are lent, and what of them is live."""

from __future__ import annotations

from pathlib import Path

from deployer.app.evictions import eviction
from deployer.app.operations import AppContext
from deployer.app.operations.guests import guests
from deployer.core.errors import DeployError
from deployer.drivers.ports import standing
from deployer.manifest import tenants
from deployer.model import Release
from deployer.views.guest_data import GuestsView, GuestView, TenantsView, TenantUse, TenantView


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


def listing(house: AppContext) -> GuestsView:
    """Return all guests with what runs of each, and what their tenants use."""
    live = sorted(guests(house), key=lambda release: (release.manifest.tenant or "", release.service))
    use: dict[tuple[str, str], TenantUse] = {}
    rows = tuple(_row(house, release, use) for release in live)
    return GuestsView(rows, tuple(use[key] for key in sorted(use)))


def _row(house: AppContext, release: Release, use: dict[tuple[str, str], TenantUse]) -> GuestView:
    tenant, found = release.manifest.tenant or "", eviction(house.store, release.service)
    running, paused, problem = 0, 0, ""
    try:
        drivers = house.drivers(release)
        there = standing(drivers.runtime, release.service)
        running, paused = (sum(i.state == state for i in there.instances) for state in ("running", "paused"))
        problem = "; ".join(f"{host or 'this host'}: {why}" for host, why in there.silent.items())
        if drivers.guests and release.terms:
            for host, each in drivers.guests.use(release.terms).items():
                use[tenant, host] = TenantUse(tenant, host, each.cpu, each.memory, each.processes)
    except DeployError as error:
        problem = error.message
    return GuestView(
        tenant=tenant,
        service=release.service,
        release=release.number,
        version=release.version,
        hosts=tuple(host.name for host in release.fleet),
        running=running,
        paused=paused,
        evicted=found.text if found else "",
        since=found.at if found else 0.0,
        problem=problem,
    )

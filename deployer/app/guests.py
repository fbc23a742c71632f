"""To whom hosts are lent, and what of them is live."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from deployer.app.evictions import eviction
from deployer.app.guest_account import GuestAccount
from deployer.app.operations import AppContext
from deployer.app.operations.guests import guests
from deployer.core.errors import DeployError
from deployer.drivers.ports import standing
from deployer.drivers.ports.guests import GuestUse
from deployer.manifest import tenants
from deployer.model import Release
from deployer.planning.orders import EVICT
from deployer.views.guest_data import (
    BillView,
    GuestsView,
    GuestView,
    TenantBill,
    TenantsView,
    TenantUse,
    TenantView,
    TenantWatch,
)


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
    use: dict[tuple[str, str], GuestUse] = {}
    rows = tuple(_row(house, release, use) for release in live)
    found = [(*key, use[key]) for key in sorted(use)]
    used = (TenantUse(tenant, host, each.cpu, each.memory, each.processes) for tenant, host, each in found)
    watch = (
        TenantWatch(tenant, host, each.watch.unwatched, each.watch.frozen, each.watch.stopped)
        for tenant, host, each in found
    )
    return GuestsView(rows, tuple(used), tuple(watch))


def bill(house: AppContext, month: str) -> BillView:
    """Return what tenants have used in a month, such as 2026-11 (UTC), and how often their services were evicted."""
    used, evictions = GuestAccount(house.store.folder).read(month), Counter[tuple[str, str]]()
    for service in house.store.services.all():
        release = next((r for r in house.store.releases.of(service.name) if r.manifest.tenant), None)
        if release is None:
            continue
        times = house.store.audit_log.moments(service.name, EVICT)
        count = sum(time.strftime("%Y-%m", time.gmtime(at)) == month for at in times)
        for host in [host.name for host in release.fleet] or [""]:
            evictions[release.manifest.tenant or "", host] += count
    rows = (
        TenantBill(
            tenant=tenant,
            host=host,
            cpu_seconds=round(found.cpu_seconds, 3) if (found := used.get((tenant, host))) else 0.0,
            memory_hours=round(found.memory_hours, 6) if found else 0.0,
            evictions=evictions[tenant, host],
        )
        for tenant, host in sorted({*used, *(key for key, count in evictions.items() if count)})
    )
    return BillView(month, tuple(rows))


def _row(house: AppContext, release: Release, use: dict[tuple[str, str], GuestUse]) -> GuestView:
    tenant, found = release.manifest.tenant or "", eviction(house.store, release.service)
    running, paused, problem = 0, 0, ""
    try:
        drivers = house.drivers(release)
        there = standing(drivers.runtime, release.service)
        running, paused = (sum(i.state == state for i in there.instances) for state in ("running", "paused"))
        problem = "; ".join(f"{host or 'this host'}: {why}" for host, why in there.silent.items())
        if drivers.guests and release.terms:
            use |= {(tenant, host): each for host, each in drivers.guests.use(release.terms).items()}
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

"""Guests: services of tenants, deployed under the terms of the owner of the hosts."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.app.evictions import refuse_evicted
from deployer.app.operations.context import AppContext
from deployer.core.errors import Refused
from deployer.core.host import Meant
from deployer.model import GuestTerms, Release
from deployer.planning import tenancy

if TYPE_CHECKING:
    from deployer.manifest.load import Loaded
    from deployer.manifest.models import Manifest
    from deployer.store import Store


def admitted(house: AppContext, loaded: Loaded) -> Loaded:
    """Return a manifest as the terms of its tenant leave it. Raise Refused where they do not let it run now."""
    manifest = loaded.manifest
    if not manifest.tenant:
        return loaded
    from deployer.manifest import tenants

    refuse_evicted(house.store, manifest.service)
    tenants.refuse_foreign(manifest.inventory, loaded.folder, os.environ)
    file = tenants.path_for(manifest.inventory, loaded.folder, os.environ)
    found = tenants.read(file)
    terms, own = tenancy.terms(found, manifest.tenant, file), found.tenants[manifest.tenant]
    if why := own.refused_at(house.clock.now()):
        raise Refused(f"{manifest.service} is a guest of {manifest.tenant}: {why}", f"the owner changes it in {file}")
    others = [
        r.service for r in guests(house) if r.manifest.tenant == manifest.tenant and r.service != manifest.service
    ]
    if len(others) >= own.services:
        raise Refused(
            f"{manifest.tenant} may have {own.services} service{'s' * (own.services != 1)} (`services`), and has "
            f"{', '.join(sorted(others))}",
            "take one down first: `deploy down`",
        )
    return replace(loaded, manifest=tenancy.held(manifest, terms))


def terms_of(house: AppContext, manifest: Manifest, folder: Path, meant: Meant) -> GuestTerms | None:
    """Return the terms of a guest; None for a service of the owner. Raise Refused for hosts that are not lent."""
    if not manifest.tenant:
        return None
    from deployer.manifest import tenants

    file = tenants.path_for(manifest.inventory, folder, os.environ)
    found = tenants.read(file)
    terms, own = tenancy.terms(found, manifest.tenant, file), found.tenants[manifest.tenant]
    lent = house.find(manifest.model_copy(update={"hosts": own.hosts}), folder).hosts
    wanted = {host.name for host in (*meant.hosts, *meant.twin)} or {""}
    if foreign := wanted - ({host.name for host in lent} or {""}):
        where = ", ".join(sorted(name or "this host" for name in foreign))
        raise Refused(f"{where}: not lent to {manifest.tenant}, whose hosts are {own.hosts}", f"see {file}")
    return terms


def guests(house: AppContext) -> tuple[Release, ...]:
    """Return the live releases of all guests."""
    return live_guests(house.store)


def live_guests(store: Store) -> tuple[Release, ...]:
    """Return the live releases of all guests that a store has."""
    live = ((each.name, each.stable) for each in store.services.all() if each.stable)
    found = (store.releases.get(service, number) for service, number in live)
    return tuple(release for release in found if release.manifest.tenant)

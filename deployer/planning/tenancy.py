"""From the file of tenants to the terms under which a guest runs."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core.errors import Refused
from deployer.model import GuestTerms

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest
    from deployer.manifest.tenants import TenantsFile

RUNTIMES = {"gvisor": "runsc"}  # by isolation, the name in the configuration of the engine
DECLARE = (
    'there: apt-get install runsc, add "runtimes": {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": '
    '["--network=host"]}} to /etc/docker/daemon.json, then systemctl reload docker: it ends no container'
)


def undeclared(isolation: str, declared: Collection[str]) -> str:
    """Return the runtime that an isolation takes and an engine has not declared; "" where nothing is missing."""
    wanted = RUNTIMES.get(isolation, "")
    return "" if wanted in declared else wanted


def nobody(tenant: str, what: str) -> Refused:
    """Return the error for a tenant ("" for all) of which no guest `runs`, or `is evicted`."""
    return Refused(f"no guest{f' of {tenant}' if tenant else ''} {what}", "`deploy guests` lists them")


def terms(found: TenantsFile, tenant: str, file: Path) -> GuestTerms:
    """Return what the host of a tenant's instance holds it to. Raise Refused for a tenant that there is not."""
    if (own := found.tenants.get(tenant)) is None:
        known = ", ".join(found.tenants)
        raise Refused(f"{file} has no tenant {tenant}", f"the owner of the hosts adds it; there are {known}")
    return GuestTerms(
        tenant=tenant,
        cpus=own.cpus,
        memory=own.memory,
        pids=own.pids,
        lent_memory=found.lent.memory or sum(each.memory for each in found.tenants.values()),
        lent_cpus=found.lent.cpus or 0.0,
        reserve=found.lent.reserve,
        disk=own.disk or 0,
        isolation=own.isolation,
        network=own.network,
        evict=own.evict,
        dns=found.dns,
        file=str(file),
    )


def current(recorded: GuestTerms) -> GuestTerms:
    """Return terms as the file has them now; those that were recorded where it does not have them any more."""
    from deployer.manifest.tenants import read

    file = Path(recorded.file)
    try:
        return terms(read(file), recorded.tenant, file)
    except Refused:
        return recorded


def held(manifest: Manifest, own: GuestTerms) -> Manifest:
    """Return the manifest of a guest as its terms leave it: what ends, ends within `evict`."""
    stop = manifest.stop
    shorter = {"drain": min(stop.drain, own.evict), "grace": min(stop.grace, own.evict)}
    return manifest.model_copy(update={"stop": stop.model_copy(update=shorter)})

"""The hosts of a deploy: which are meant, and whether it can go without those that are silent."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.app.operations.context import AppContext
from deployer.core.errors import HostsUnreachable, Refused
from deployer.core.host import Host, Meant
from deployer.drivers.ports import Drivers
from deployer.model import MOST_INSTANCES, Observed

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


def hosts_of(house: AppContext, manifest: Manifest, folder: Path) -> Meant:
    """Ask the inventory which hosts are meant."""
    meant = house.find(manifest, folder)
    hosts, twin = meant.hosts, meant.twin
    if both := {host.name for host in hosts} & {host.name for host in twin}:
        raise Refused(f"{', '.join(sorted(both))}: in both `hosts` and `twin.hosts`", "give each group its own hosts")
    most = manifest.replicas * max(len(hosts), len(twin))
    if most > MOST_INSTANCES:
        raise Refused(
            f"{manifest.service} would have {most} instances", f"{MOST_INSTANCES} are the most: fewer replicas"
        )
    return meant


def answering(hosts: Sequence[Host], silent: Collection[str], spare: int) -> tuple[tuple[Host, ...], int]:
    """Leave out the hosts of a group that are silent, if they can be spared; return how many more can be.

    One that answers is always left.
    """
    here = tuple(host for host in hosts if host.name not in silent)
    left = spare - (len(hosts) - len(here))
    return (here, min(left, len(here) - 1)) if here and left >= 0 else (tuple(hosts), 0)


def refuse_silent(
    house: AppContext, drivers: Drivers, observed: Observed, needed: Sequence[Host], spared: Collection[str] = ()
) -> None:
    """Go nowhere without a host that is to run the release; any other one is told and left.

    But not when users are on all that is silent: there would be nothing to compare with, and nothing to go back to.
    """
    names = {host.name for host in needed}
    if lost := {host: why for host, why in observed.silent.items() if host in names}:
        raise HostsUnreachable(lost)
    if observed.silent and observed.live is not None and observed.stable is None:
        servers = drivers.traffic.servers(observed.service, observed.live.stable)
        if any(is_up for _, is_up in servers):
            raise HostsUnreachable(observed.silent)
    for host, why in observed.silent.items():
        goes = "the release goes without it" if host in spared else "is not needed"
        house.tell(observed.service, f"{host or 'this host'} is unreachable, and {goes}: {why}")

"""The hosts of an inventory that a command means, and which of them run instances or are proxies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.core.clock import Clock, Deadline
from deployer.core.errors import Refused
from deployer.core.host import Host
from deployer.drivers.hosts.inventory import READ_SECONDS, chosen, hosts
from deployer.manifest import tenants
from deployer.manifest.target import Target
from deployer.planning.tenancy import RUNTIMES

WEB, EDGE = "web", "edge"  # groups, where no manifest names others: of hosts with instances, and with proxies


@dataclass(frozen=True)
class InventoryHosts:
    """The hosts that a command means, and where an `ansible.cfg` is obeyed.

    `web` is the pattern of hosts that run instances, `edge` that of proxies; `on_web` and `on_edge` are their names.
    `together`: the proxies are told on their own hosts what a deploy does.
    """

    inventory: Path
    limit: str
    folder: Path
    hosts: tuple[Host, ...]
    web: str
    edge: str
    on_web: frozenset[str]
    on_edge: frozenset[str]
    together: bool

    def with_a_part(self) -> tuple[Host, ...]:
        """Return the hosts that run instances or are proxies. Raise Refused where none does.

        Instances come first: a proxy that is away needs others that take its place.
        """
        parts = self.on_web | self.on_edge
        found = [host for host in self.hosts if host.name in parts]
        if not found:
            raise Refused(
                f"no host of {self.inventory} is in {self.web} or {self.edge}", "`deploy hosts list` shows the groups"
            )
        return tuple(sorted(found, key=lambda host: (host.name not in self.on_web, host.name)))


def read(
    target: Target, inventory: Path | None, limit: str, environ: Mapping[str, str], clock: Clock
) -> InventoryHosts:
    """Read the hosts of an inventory, or without one of that of the manifest, within a limit. Raise Refused."""
    folder = target.file.absolute().parent
    named, web, edge = _of_manifest(target, environ) if inventory is None else (None, WEB, "")
    source = inventory or chosen(named, folder)
    deadline = Deadline.after(clock, READ_SECONDS)
    found = hosts(source, "all", deadline, limit=limit, folder=folder)

    def members(pattern: str, usual: str) -> frozenset[str]:
        if pattern == usual:  # which need not be there
            return frozenset(host.name for host in found if usual in host.groups)
        return frozenset(host.name for host in hosts(source, pattern, deadline, folder=folder))

    proxies = edge or EDGE
    on_web, on_edge = members(web, WEB), members(proxies, EDGE)
    return InventoryHosts(source.absolute(), limit, folder, found, web, proxies, on_web, on_edge, bool(edge))


def isolations(fleet: InventoryHosts, environ: Mapping[str, str], clock: Clock) -> dict[str, set[str]]:
    """Return how guests are isolated, by the names of the hosts that are lent to them; hosts of containers are left
    out. Raise Refused, ManifestRefused for a `tenants.yml` that cannot be read.
    """
    shipped = fleet.inventory == chosen(None, fleet.folder).absolute()
    file = tenants.path_for(None if shipped else str(fleet.inventory), fleet.folder, environ)
    found, deadline = dict[str, set[str]](), Deadline.after(clock, READ_SECONDS)
    for own in tenants.read(file).tenants.values() if file.exists() else ():
        if own.isolation in RUNTIMES:
            source, pattern = (None, "all") if own.hosts == "local" else (fleet.inventory, own.hosts)
            for host in hosts(source, pattern, deadline, folder=fleet.folder):
                found.setdefault(host.name, set()).add(own.isolation)
    return found


def _of_manifest(target: Target, environ: Mapping[str, str]) -> tuple[str | None, str, str]:
    """Return the inventory of the manifest, the pattern of its hosts that run instances, and that of its proxies."""
    if not target.file.exists():
        return None, WEB, ""
    from deployer.manifest.load import load

    manifest = load(target.file, destination=target.destination, environ=environ).manifest
    proxies = manifest.traffic.proxies
    return manifest.inventory, manifest.host_pattern or WEB, "" if proxies.local else proxies.hosts

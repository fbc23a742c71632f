"""What the commands about guests print: to whom hosts are lent."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.status_data import View


@dataclass(frozen=True)
class TenantView(View):
    """A tenant with its terms, and its services that are live; `memory` and `disk` are bytes, `evict` seconds.

    `disk` 0 is memory only; `until` is a moment, 0 for none. `refused` says why nothing of it may run now, "" where it
    may.
    """

    name: str
    hosts: str
    cpus: float
    memory: int
    disk: int
    pids: int
    most: int
    services: tuple[str, ...]
    isolation: str
    network: str
    evict: float
    until: float
    refused: str


@dataclass(frozen=True)
class TenantsView(View):
    """The tenants of a `tenants.yml`."""

    file: str
    tenants: tuple[TenantView, ...]

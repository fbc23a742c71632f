"""What the commands about guests print: to whom hosts are lent, and what runs there of whom."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.views.view import View


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


@dataclass(frozen=True)
class GuestView(View):
    """A service of a tenant. `evicted` says since when, by whom and why, "" where it runs; `since` is that moment.

    `problem` says what could not be seen.
    """

    tenant: str
    service: str
    release: int
    version: str
    hosts: tuple[str, ...]
    running: int
    paused: int
    evicted: str
    since: float
    problem: str = ""


@dataclass(frozen=True)
class TenantUse(View):
    """What a tenant uses on a host ("" is this one): seconds of processors so far, bytes of memory, processes."""

    tenant: str
    host: str
    cpu: float
    memory: int
    processes: int


@dataclass(frozen=True)
class TenantWatch(View):
    """What a host ("" is this one) does by itself while its owner waits for processors or memory.

    `unwatched` says why it does nothing, `frozen` since when and why guests are frozen, `stopped` the same of those of
    the tenant that it has stopped; "" where that is not so.
    """

    tenant: str
    host: str
    unwatched: str
    frozen: str
    stopped: str


@dataclass(frozen=True)
class GuestsView(View):
    """All guests of a state folder, what their tenants use, and what hosts do with them by themselves."""

    guests: tuple[GuestView, ...]
    use: tuple[TenantUse, ...]
    watch: tuple[TenantWatch, ...] = ()


@dataclass(frozen=True)
class TenantBill(View):
    """What a tenant has used on a host ("" is this one) in a month: `memory_hours` are GiB for an hour.

    `evictions` are those of its services that have instances there.
    """

    tenant: str
    host: str
    cpu_seconds: float
    memory_hours: float
    evictions: int


@dataclass(frozen=True)
class BillView(View):
    """What all tenants have used in a month, such as 2026-11 (UTC)."""

    month: str
    tenants: tuple[TenantBill, ...]

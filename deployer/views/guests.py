"""Tenants and their guests, as text for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator

from deployer.core.amounts import span
from deployer.views.guest_data import BillView, GuestsView, GuestView, TenantsView, TenantView, TenantWatch
from deployer.views.text import columns, moment, one_line, plural, release

Ink = Callable[[str, str], str]
_MIB = 1024 * 1024


def tenants(view: TenantsView, _: float, ink: Ink) -> list[str]:
    """Write the tenants of a file, each with what it may have on a host and what is live of it."""
    heads = ("tenant", "hosts", "cpus", "memory", "disk", "pids", "isolation", "network", "evict", "until", "services")
    rows = [[ink(head, "dim") for head in heads], *(_row(each, ink) for each in view.tenants)]
    notes = [f"{each.name}: {each.refused}" for each in view.tenants if each.refused]
    return [one_line(view.file), "", *columns(rows, right=range(2, 6)), *([""] if notes else []), *notes]


def _row(tenant: TenantView, ink: Ink) -> list[str]:
    return [
        ink(one_line(tenant.name), "bold"),
        one_line(tenant.hosts),
        f"{tenant.cpus:g}",
        size(tenant.memory),
        size(tenant.disk) if tenant.disk else "–",
        str(tenant.pids),
        tenant.isolation,
        tenant.network,
        span(tenant.evict),
        moment(tenant.until) if tenant.until else "–",
        f"{len(tenant.services)} of {tenant.most}" + (f": {', '.join(tenant.services)}" if tenant.services else ""),
    ]


def guests(view: GuestsView, _: float, ink: Ink) -> list[str]:
    """Write the services of tenants, what runs of each, and what each tenant uses."""
    if not view.guests:
        return ["no guest was deployed from here"]
    heads = ("tenant", "service", "release", "hosts", "")
    rows = [[ink(head, "dim") for head in heads], *(_guest(each, ink) for each in view.guests)]
    out = columns(rows)
    if view.use:
        heads = ("tenant", "host", "processor time", "memory", "processes")
        used = (
            [one_line(u.tenant), one_line(u.host or "this host"), f"{u.cpu:,.1f} s", size(u.memory), str(u.processes)]
            for u in view.use
        )
        out += ["", *columns([[ink(head, "dim") for head in heads], *used], right=range(2, 5))]
    notes = [note for each in view.watch for note in _watch(each)]
    return [*out, *([""] if notes else []), *dict.fromkeys(notes)]


def _watch(watch: TenantWatch) -> Iterator[str]:
    host = one_line(watch.host or "this host")
    if watch.unwatched:
        yield f"{host} does not watch what its owner waits for: {one_line(watch.unwatched)}"
    if watch.frozen:
        yield f"{host} has frozen its guests {one_line(watch.frozen)}"
    if watch.stopped:
        yield f"{host} has stopped {one_line(watch.tenant)} {one_line(watch.stopped)}"


def _guest(guest: GuestView, ink: Ink) -> list[str]:
    state = guest.evicted or plural(guest.running, "instance") + (f", {guest.paused} frozen" if guest.paused else "")
    return [
        one_line(guest.tenant),
        ink(one_line(guest.service), "bold"),
        release(guest.release, guest.version),
        ", ".join(map(one_line, guest.hosts)) or "this host",
        one_line(guest.problem or state),
    ]


def bill(view: BillView, _: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write what tenants have used in a month as CSV, for a bill."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(("month", "tenant", "host", "cpu_seconds", "memory_gib_hours", "evictions"))
    for each in view.tenants:
        numbers = (f"{each.cpu_seconds:.1f}", f"{each.memory_hours:.4f}", each.evictions)
        writer.writerow((view.month, each.tenant, each.host, *numbers))
    return out.getvalue().splitlines()


def size(number: int) -> str:
    """Write a number of bytes in MiB."""
    return f"{number / _MIB:,.0f} MiB"

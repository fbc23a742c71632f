"""Hosts for people: what the inventory has, whether they are fit, what a playbook did to them."""

from __future__ import annotations

from collections.abc import Callable

from deployer.views.host_data import CheckedHost, CheckView, HostsView, PlayedHost, PlayedView
from deployer.views.text import columns, one_line, plural

Ink = Callable[[str, str], str]
_MARKS = {"warn": ("!", "yellow"), "bad": ("✗", "red")}


def hosts(view: HostsView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each host."""
    rows = [[ink(head, "dim") for head in ("host", "address", "reached by ssh as", "groups")]]
    for host in view.hosts:
        rows.append([*map(one_line, (host.name, host.address, host.reached)), ", ".join(host.groups) or "–"])
    return columns(rows)


def check(view: CheckView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a line for each host, and below it what is wrong there, with the remedy."""
    out: list[str] = []
    for host in view.hosts:
        out += _checked(host, ink)
    unfit = sum(host.unfit for host in view.hosts)
    return [*out, f"{plural(len(view.hosts), 'host')}, {f'{unfit} of them not fit' if unfit else 'all fit'}"]


def _checked(host: CheckedHost, ink: Ink) -> list[str]:
    mark = ink("✗", "red") if host.unfit else ink("✓", "green")
    fine = ", ".join(one_line(f.text) for f in host.findings if f.level == "ok" and f.what != "clock")
    out = [f"{mark} {ink(one_line(host.name), 'bold')}{f'  {fine}' if fine else ''}"]
    for finding in host.findings:
        if finding.level != "ok":
            sign, style = _MARKS[finding.level]
            out.append(f"    {ink(sign, style)} {finding.what}: {one_line(finding.text)}")
            out.append(f"      → {one_line(finding.remedy)}")
    return out


def played(view: PlayedView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each host."""
    rows = [[ink(head, "dim") for head in ("host", "ok", "changed", "failed", "unreachable")]]
    rows += [_played(host, ink) for host in view.hosts]
    return columns(rows, right=range(1, 5))


def _played(host: PlayedHost, ink: Ink) -> list[str]:
    def number(count: int, style: str) -> str:
        return ink(str(count), style if count else "")

    return [
        one_line(host.name),
        str(host.ok),
        number(host.changed, "yellow"),
        number(host.failed, "red"),
        number(host.unreachable, "red"),
    ]

"""Machines for people: what the inventory has, whether they are fit, what a playbook did to them."""

from __future__ import annotations

from collections.abc import Callable

from deployer.views.host_data import CheckedMachine, CheckView, MachinesView, PlayedMachine, PlayedView
from deployer.views.text import columns, one_line, plural

Ink = Callable[[str, str], str]
_MARKS = {"warn": ("!", "yellow"), "bad": ("✗", "red")}


def machines(view: MachinesView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each machine."""
    rows = [[ink(head, "dim") for head in ("host", "address", "reached by ssh as", "groups")]]
    for machine in view.machines:
        rows.append(
            [*map(one_line, (machine.name, machine.address, machine.reached)), ", ".join(machine.groups) or "–"]
        )
    return columns(rows)


def check(view: CheckView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a line for each machine, and below it what is wrong there, with the remedy."""
    out: list[str] = []
    for machine in view.machines:
        out += _checked(machine, ink)
    unfit = sum(machine.unfit for machine in view.machines)
    return [*out, f"{plural(len(view.machines), 'host')}, {f'{unfit} of them not fit' if unfit else 'all fit'}"]


def _checked(machine: CheckedMachine, ink: Ink) -> list[str]:
    mark = ink("✗", "red") if machine.unfit else ink("✓", "green")
    fine = ", ".join(one_line(f.text) for f in machine.findings if f.level == "ok" and f.what != "clock")
    out = [f"{mark} {ink(one_line(machine.name), 'bold')}{f'  {fine}' if fine else ''}"]
    for finding in machine.findings:
        if finding.level != "ok":
            sign, style = _MARKS[finding.level]
            out.append(f"    {ink(sign, style)} {finding.what}: {one_line(finding.text)}")
            out.append(f"      → {one_line(finding.remedy)}")
    return out


def played(view: PlayedView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write a row for each machine."""
    rows = [[ink(head, "dim") for head in ("host", "ok", "changed", "failed", "unreachable")]]
    rows += [_played(machine, ink) for machine in view.machines]
    return columns(rows, right=range(1, 5))


def _played(machine: PlayedMachine, ink: Ink) -> list[str]:
    def number(count: int, style: str) -> str:
        return ink(str(count), style if count else "")

    return [
        one_line(machine.name),
        str(machine.ok),
        number(machine.changed, "yellow"),
        number(machine.failed, "red"),
        number(machine.unreachable, "red"),
    ]

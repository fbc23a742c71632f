"""Which proxies of a service are lost: they did not take part in a change, and may still serve as before it.

    lost edge3 1764000000.125 green,500,1764000030,17,60,4,500,0;green,0,0,16,0,0,0,12 no response within 5 s
    before green,0,0,16,0,0,0,12

One file for each service of several proxies (`STATE/emergency/SERVICE.lost`). Of each lost proxy it says since when,
which live values it may have, and why. `before` is the value that a change which is being made replaces: a proxy that
is lost meanwhile may have that one, too, although nobody was left to write it down.
"""

from __future__ import annotations

import os

from deployer.emergency import endpoint, record


class Lost:
    """A proxy without what the others have: since when (Unix seconds), its possible live values as text, and why."""

    __slots__ = ("name", "since", "values", "why")

    def __init__(self, name: str, since: float, values: list[str], why: str) -> None:
        self.name, self.since, self.values, self.why = name, since, values, why


def read(state: str, service: str) -> tuple[dict[str, Lost], str]:
    """Return the lost proxies of a service by name, and the value that a change replaces; "" where none is made.

    Raise OSError, and ValueError for a file that is damaged.
    """
    found: dict[str, Lost] = {}
    before = ""
    try:
        with open(path(state, service), encoding="utf-8") as file:  # noqa: PTH123 - pathlib costs
            for line in file:
                key, _, rest = line.rstrip("\n").partition(" ")
                if key == "before":
                    before = rest
                elif key == "lost":
                    name, since, values, why = (*rest.split(" ", 3), "")[:4]
                    found[name] = Lost(name, float(since), [] if values == "-" else values.split(";"), why)
    except FileNotFoundError:
        return {}, ""
    return found, before


def write(state: str, service: str, lost: dict[str, Lost], before: str = "") -> None:
    """Write them; no file where there is nothing to write. Raise OSError."""
    lines = [f"lost {one.name} {one.since:.3f} {';'.join(one.values) or '-'} {one.why}" for one in lost.values()]
    if before:
        lines.append(f"before {before}")
    file = path(state, service)
    if lines:
        os.makedirs(f"{state}/{endpoint.FOLDER}", 0o700, exist_ok=True)  # noqa: PTH103 - pathlib costs
        record.replace(file, "".join(f"{' '.join(line.split())}\n" for line in lines), 0o600)
    else:
        try:
            os.unlink(file)  # noqa: PTH108 - the same
        except FileNotFoundError:
            return


def add(state: str, service: str, name: str, values: list[str], why: str, now: float) -> None:
    """Write that a proxy is lost, or that it may have these values, too. Raise OSError."""
    lost, before = read(state, service)
    there = lost.get(name)
    since, had = (there.since, there.values) if there else (now, [])
    kept = dict.fromkeys((*had, *values, *([before] if before else [])))
    lost[name] = Lost(name, since, list(kept), why)
    write(state, service, lost, before)


def path(state: str, service: str) -> str:
    """Return the file of a service."""
    return f"{endpoint.path(state, service)}.lost"

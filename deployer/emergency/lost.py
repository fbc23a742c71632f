"""Which proxies of a service are lost: they did not take part in a change, and may still serve as before it.

    lost edge3 1764000000.125 green,500,1764000030,17,60,4,500,0;green,0,0,16,0,0,0,12 no response within 5 s
    before green,0,0,16,0,0,0,12

One file for each service of several proxies (`STATE/emergency/SERVICE.lost`). Of each lost proxy it says since when,
which live values it may have, and why. `before` is the value that a change which is being made replaces: a proxy that
is lost meanwhile may have that one, too, although nobody was left to write it down.

A rollout writes it, and so does an emergency beside it: both change what they have read in one turn, under a lock.
"""

from __future__ import annotations

import os

from deployer.emergency import endpoint, file_lock, record

TYPE_CHECKING = False  # typing and collections.abc take longer than what is done here
if TYPE_CHECKING:
    from collections.abc import Callable

    Edit = Callable[[dict[str, "Lost"], str], tuple[dict[str, "Lost"], str]]

LOCK = ".lost.lock"  # one for all services: it is held for some milliseconds
HELD_SECONDS = 2.0  # after which whoever holds it is stopped or hangs, and is not waited for
TURNS = 3  # that are tried under the lock: each ends where somebody holds it, or takes it away, for too long


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


def change(state: str, service: str, edit: Edit) -> str:
    """Replace what is written by what `edit` makes of it, in one turn; return who was not waited for, "" for nobody.

    Whoever holds the lock for too long loses it: when it goes on it finds that, and makes its change again. So an
    emergency never hangs behind a process that is stopped, and of neither anything is lost. Raise OSError, and
    ValueError for a file that is damaged.
    """
    now = read(state, service)
    if edit(*now) == now:
        return ""
    os.makedirs(f"{state}/{endpoint.FOLDER}", 0o700, exist_ok=True)  # noqa: PTH103 - pathlib costs
    lock, hung = f"{state}/{endpoint.FOLDER}/{LOCK}", ""
    for _ in range(TURNS):
        held = file_lock.take(lock, HELD_SECONDS, make=True)
        if held is None:
            hung = hung or _holders(lock)
            _remove(lock)
        elif _made(state, service, edit, held, lock):
            return hung
    _write(state, service, *edit(*read(state, service)), lambda: True)  # rather than not at all
    return hung or "other commands"


def _made(state: str, service: str, edit: Edit, held: int, lock: str) -> bool:
    """Make a change while the lock is held; return whether it was held to the end, and the change is made."""
    try:
        return _write(state, service, *edit(*read(state, service)), lambda: file_lock.stands(held, lock))
    finally:
        os.close(held)


def _holders(lock: str) -> str:
    from pathlib import Path

    from deployer.core.lock_holders import holders

    return ", ".join(holders(Path(lock))) or "another process"


def _write(state: str, service: str, lost: dict[str, Lost], before: str, still: Callable[[], bool]) -> bool:
    """Write them, no file where there is nothing to write, unless the lock is lost; return whether it was not."""
    lines = [f"lost {one.name} {one.since:.3f} {';'.join(one.values) or '-'} {one.why}" for one in lost.values()]
    if before:
        lines.append(f"before {before}")
    file = path(state, service)
    if lines:
        return record.replace(file, "".join(f"{' '.join(line.split())}\n" for line in lines), 0o600, still=still)
    if not still():
        return False
    _remove(file)
    return True


def _remove(file: str) -> None:
    try:
        os.unlink(file)  # noqa: PTH108 - pathlib costs
    except FileNotFoundError:
        return


def add(state: str, service: str, name: str, values: list[str], why: str, now: float) -> str:
    """Write that a proxy is lost, or that it may have these values, too; return what `change` returns."""

    def edit(lost: dict[str, Lost], before: str) -> tuple[dict[str, Lost], str]:
        there = lost.get(name)
        since, had = (there.since, there.values) if there else (now, [])
        kept = dict.fromkeys((*had, *values, *([before] if before else [])))
        return {**lost, name: Lost(name, since, list(kept), why)}, before

    return change(state, service, edit)


def path(state: str, service: str) -> str:
    """Return the file of a service."""
    return f"{endpoint.path(state, service)}.lost"

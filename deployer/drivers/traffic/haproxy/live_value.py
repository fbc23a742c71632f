"""The map that moves the traffic: one value for each service, and the name of the structure that was loaded.

    shop blue,500,1764000000,17,60,4,500,0,35

Stable colour, share in basis points, end of the lease, rollout, budget, what of it was spent before this worker began,
share of the fresh baseline, release that is warm in the other colour; and the token of the lock under which it was
written, which the proxy does not read, and a value of an earlier version does not have. One value, so that no request
sees half of a change. The file is what a restarted proxy comes up with. `deployer.emergency.value_edits` edits the same
text without reading it whole.
"""

from __future__ import annotations

import re
from pathlib import Path

from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import layout
from deployer.model import FULL, Colour, Live

STRUCTURE = "deployer.structure"  # no service can have a dot in its name
_N = "([0-9]{1,15})"
_VALUE = re.compile(f"(blue|green){f',{_N}' * 7}(?:,{_N})?")
_LONGEST_LEASE, _LAST_ROLLOUT, _MOST, _LAST_TOKEN = 2**40, 10**10, 10**9, 10**15


def encode(live: Live, spent: int = 0) -> str:
    """Write a live value. The proxy checks no range, so it is checked here."""
    if live.share < 0 or live.baseline < 0 or live.share + live.baseline > FULL:
        beside = f" beside a baseline of {live.baseline} bp" if live.baseline else ""
        raise DriverFailed(f"a share of {live.share} bp{beside} is not between 0 and {FULL}", "give it in basis points")
    if not 0 <= live.lease < _LONGEST_LEASE or not 0 <= live.rollout < _LAST_ROLLOUT:
        raise DriverFailed(f"lease {live.lease} or rollout {live.rollout} is out of range", "both are whole, from 0")
    if not 0 <= live.budget < _MOST or not 0 <= spent < _MOST:
        raise DriverFailed(f"budget {live.budget} or {spent} spent of it is out of range", "both are whole, from 0")
    if not 0 <= live.warm < _MOST:
        raise DriverFailed(f"warm release {live.warm} is out of range", "it is whole, from 0")
    if not 0 <= live.token < _LAST_TOKEN:
        raise DriverFailed(f"token {live.token} is out of range", "it is whole, from 0")
    numbers = (live.share, live.lease, live.rollout, live.budget, spent, live.baseline, live.warm)
    return ",".join((live.stable, *map(str, numbers), *([str(live.token)] if live.token else [])))


def decode(service: str, text: str) -> Live:
    """Read a live value. Raises DriverFailed for one that somebody else wrote."""
    match = _VALUE.fullmatch(text)
    if match is None or not _fits(text):
        raise DriverFailed(f"the proxy's value for {service} is {text!r}", "`deploy doctor` shows what wrote it")
    colour: Colour = "blue" if match[1] == "blue" else "green"
    share, lease, rollout, budget, baseline, warm = (int(match[n]) for n in (2, 3, 4, 5, 7, 8))
    return Live(colour, share, lease, rollout, budget, baseline, warm, int(match[9] or 0))


def understood(service: str, text: str | None) -> Live | None:
    """Read a live value; None for none, and for one that somebody else wrote."""
    return decode(service, text) if text is not None and _fits(text) else None


def _fits(text: str) -> bool:
    match = _VALUE.fullmatch(text)
    return match is not None and int(match[2]) + int(match[7]) <= FULL


def spent(text: str) -> int:
    """Read how much of the budget was spent before a worker with this value began to count."""
    match = _VALUE.fullmatch(text)
    return int(match[6]) if match else 0


def load(path: Path) -> dict[str, str]:
    """Read the file; values by key. Raises DriverFailed for a line that is none of ours."""
    values = {}
    for number, line in enumerate((layout.read(path) or "").split("\n"), 1):
        key, space, value = line.partition(" ")
        if space:
            values[key] = value
        elif line:
            raise DriverFailed(
                f"{path}:{number}: {line[:60]!r} is not a line that deployer wrote",
                "`deploy doctor` shows what wrote it",
            )
    return values


def save(path: Path, values: dict[str, str]) -> None:
    """Write the file."""
    layout.write(path, text(values))


def text(values: dict[str, str]) -> str:
    """Write the content of the file."""
    return "".join(f"{key} {value}\n" for key, value in sorted(values.items()))

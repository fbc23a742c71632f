"""Control groups of a lab machine: one of its name in each hierarchy, of version 1 or 2."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from deployer.core.clock import Deadline, SystemClock

ROOT = Path("/sys/fs/cgroup")
_SECONDS = 60.0  # for the last process of a group to be gone
CLOCK = SystemClock()


def make(name: str) -> list[Path]:
    """Make the groups; return their folders."""
    made = [hierarchy / name for hierarchy in _hierarchies()]
    for folder in made:
        folder.mkdir(exist_ok=True)
        if folder.parent.name == "cpuset":
            for file in ("cpuset.cpus", "cpuset.mems"):  # version 1 does not inherit them
                (folder / file).write_text((folder.parent / file).read_text())
    return made


def freeze(name: str, frozen: bool) -> None:
    """Stop every process of the groups, or let them go on."""
    first, second = ROOT / "freezer" / name / "freezer.state", ROOT / name / "cgroup.freeze"
    if first.exists():
        first.write_text("FROZEN" if frozen else "THAWED")
    if second.exists():
        second.write_text(str(int(frozen)))


def remove(prefix: str) -> None:
    """Remove the groups whose names begin so, and what is in them."""
    for hierarchy in _hierarchies():
        for folder in hierarchy.glob(f"{prefix}*"):
            with suppress(OSError):  # another run may sweep the same
                freeze(folder.name, False)  # what is frozen cannot end
            for inner, _, _ in os.walk(folder, topdown=False):
                _remove(Path(inner))


def _remove(folder: Path) -> None:
    Deadline.after(CLOCK, _SECONDS).until(lambda: _removed(folder), f"{folder} is empty")


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # its last process is still on its way out
    return True


def _hierarchies() -> Iterator[Path]:
    if (ROOT / "cgroup.controllers").exists():
        yield ROOT
    else:
        yield from (folder for folder in ROOT.iterdir() if folder.is_mount() and not folder.is_symlink())

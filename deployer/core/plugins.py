"""What installed packages add to the deployer: their entry points, found without running any code of theirs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STRATEGIES = "deployer.strategies"


def installed(group: str) -> tuple[EntryPoint, ...]:
    """Return the entry points of a group.

    importlib.metadata would take a quarter of the time of `deploy --help`: it is imported where there is an entry.
    """
    if not any(_may_add(Path(folder), group) for folder in sys.path):
        return ()
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


def _may_add(place: Path, group: str) -> bool:
    """Return whether a place of `sys.path` has a package with entry points of a group; an archive counts as one."""
    return place.is_file() or any(f"[{group}]".encode() in text for text in _declarations(place))


def _declarations(folder: Path) -> Iterator[bytes]:
    for metadata in ("*.dist-info", "*.egg-info"):
        for file in folder.glob(f"{metadata}/entry_points.txt"):
            with suppress(OSError):  # what cannot be read adds nothing
                yield file.read_bytes()

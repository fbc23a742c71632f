"""How far the migration of the live release has come, in lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deployer.views.text import one_line, release

if TYPE_CHECKING:
    from deployer.views.status_parts import MigrationView

Ink = Callable[[str, str], str]


def migration(view: MigrationView, now: float, ink: Ink) -> list[str]:  # noqa: ARG001 - the shape of all renderers
    """Write the migration of the live release, its backups, and how far a rollback can go."""
    out = [f"{ink(release(view.release, view.version), 'bold')}  {one_line(view.text) or 'it has no contract'}"]
    out += [f"{ink('backup', 'dim')}: {one_line(backup)}" for backup in view.backups]
    if view.oldest:
        out.append(f"{ink('rollback', 'dim')}: to r{view.oldest} and later ones only, as its contract has begun")
    return out

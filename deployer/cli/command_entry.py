"""A command as the help lists it, before it is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CommandEntry:
    """A command before it is imported: where it runs in the help, what it does, and `module:attribute`."""

    section: str
    help: str
    target: str

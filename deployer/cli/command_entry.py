"""A command as the help lists it, before it is imported."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CommandEntry:
    """A command before it is imported: where it is in the help, what it does, and `module:attribute`.

    One that is `served` can be asked of a server, too (`--server`, `--on`); others are for the host where they run.
    """

    section: str
    help: str
    target: str
    served: bool = True


def here(section: str, help: str, target: str) -> CommandEntry:
    """Make the entry of a command that is about the host where it is called."""
    return CommandEntry(section, help, target, served=False)

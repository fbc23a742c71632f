"""The data of a service, as bundles bring it to another host."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from deployer.core.clock import Deadline


@dataclass(frozen=True)
class SavedData:
    """What was saved: an archive with this digest and so many bytes, which `read` gives."""

    digest: str
    size: int
    read: Callable[[], Iterable[bytes]]


class ServiceData(Protocol):
    """Saves the data of a service that is stopped, and restores it; `image` is one that the engine has."""

    @property
    def kind(self) -> Literal["mount", "playbook"]:
        """How it is saved."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return what can be saved, by names that mean the same on other hosts. Raise Refused where nothing can."""
        ...

    def save(self, name: str, image: str, target: Path, deadline: Deadline) -> None:
        """Write it into a file. Raise Refused where it is not here, or where something may be writing to it."""
        ...

    def is_free(self, name: str, image: str, deadline: Deadline, *, overwrite: bool) -> bool:
        """Return whether `restore` may go ahead: nothing is there yet, or `overwrite` removes it.

        True, too, for what only playbooks know.
        """
        ...

    def restore(
        self, name: str, image: str, saved: SavedData, deadline: Deadline, *, overwrite: bool, begun: bool
    ) -> None:
        """Restore it, and see that it is what was saved.

        `overwrite` removes what is there first; `begun` says that it is part of the same data, from a restore that was
        killed. Raise Refused where something uses the place, or where it does not take all of it.
        """
        ...

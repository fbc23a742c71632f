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


@dataclass(frozen=True)
class Restoring:
    """How something is restored: `overwrite` removes what is there first.

    `begun` says that part of the same data is there, from a restore that was killed. `begins` is called when nothing is
    refused any more, before the first change that a kill would leave half done.
    """

    overwrite: bool
    begun: bool
    begins: Callable[[], None]


class ServiceData(Protocol):
    """Saves the data of a service that is stopped, and restores it; `image` is one that the engine has."""

    @property
    def kind(self) -> Literal["mount", "playbook"]:
        """How it is saved."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return what can be saved, by names that mean the same on other hosts. Raise Refused where nothing can."""
        ...

    def source(self, name: str, /) -> str:
        """Return what is behind a name on this host, such as a volume; "" where only playbooks know."""
        ...

    def save(self, name: str, image: str, target: Path, deadline: Deadline, /) -> None:
        """Write it into a file. Raise Refused where it is not here, or where something may be writing to it."""
        ...

    def is_free(self, name: str, image: str, deadline: Deadline, /, *, overwrite: bool) -> bool:
        """Return whether `restore` may go ahead: nothing is there yet, or `overwrite` removes it.

        True, too, for what only playbooks know.
        """
        ...

    def restore(self, name: str, image: str, saved: SavedData, deadline: Deadline, how: Restoring, /) -> None:
        """Restore it, and see that it is what was saved.

        Raise Refused, with all as it was, where something uses the place or other data is there; and where it does not
        take all of it.
        """
        ...

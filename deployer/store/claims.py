"""Claims: what somebody alive holds, so that everybody else leaves it alone; they end with their process.

Which process of several does something is asked here, whatever it is: who changes a service, who has a run of a job,
who tells people of an ending, who keeps services. A store in a file asks the kernel, which knows at once; one that
several hosts share asks its database, where a claim lapses that is not renewed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from deployer.core.filelock import FileLock, is_held


class Claim(Protocol):
    """Something that one process holds, or several share."""

    def try_take(self) -> bool:
        """Take it if it is free; return whether it is held now."""
        ...

    def take(self, seconds: float) -> None:
        """Take it. Raise StoreFailed when it is not free within `seconds`."""
        ...

    def write(self, text: str) -> None:
        """Write down who holds it, for people."""
        ...

    def stands(self) -> bool:
        """Return whether it is held here, as others see it."""
        ...

    def let_go(self) -> None:
        """Release it; one that is not held is no error."""
        ...


class Claims(Protocol):
    """The claims of a store. A name is that of a file in the state folder, which one of the kernel's lies in.

    A claim is of a whole name, or of one place in it.
    """

    certain: bool  # what is not held is nobody's who lives; else it may be of one who is stopped or cut off
    lapse: float  # seconds after which a claim of a dead process is free

    def claim(self, name: str, at: int | None = None, *, shared: bool = False) -> Claim:
        """Return a claim to take; several may hold a shared one."""
        ...

    def is_held(self, name: str, at: int | None = None, below: int = 0) -> bool:
        """Return whether anybody holds a place of a name: any, the one at `at`, or any from there to `below`."""
        ...

    def words(self, name: str) -> str:
        """Return who took a claim of a name last, as they wrote it; "" where that is not known."""
        ...

    def close(self) -> None:
        """Release what this process holds by itself."""
        ...


class KernelClaims:
    """Locks of files in a state folder: the kernel ends them with their process."""

    certain = True
    lapse = 0.0

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def claim(self, name: str, at: int | None = None, *, shared: bool = False) -> FileLock:
        """Return a lock to take."""
        return FileLock(self._folder / name, at, shared=shared)

    def is_held(self, name: str, at: int | None = None, below: int = 0) -> bool:
        """Return whether anybody holds a place of a file. Raise OSError."""
        return is_held(self._folder / name, at, below)

    def words(self, name: str) -> str:
        """Return what is written in a file."""
        try:
            return (self._folder / name).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def close(self) -> None:
        """Do nothing: the kernel gives back what the process holds."""

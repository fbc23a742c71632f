"""A database that several hosts share, as the store knows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deployer.store.claims import Claims
from deployer.store.database import Database
from deployer.store.owner import Lock
from deployer.store.vault import Vault


@dataclass(frozen=True)
class DatabaseLook:
    """How a database is: what it is, its bytes, the seconds that an answer took, and how far its clock is ahead."""

    version: str
    size: int
    took: float
    ahead: float


class Recordings(Protocol):
    """The lines of recordings, in pieces that begin at a byte of the file."""

    def size(self, rollout: int) -> int:
        """Return the bytes that are there of a recording."""
        ...

    def add(self, lock: Lock, rollout: int, at: int, lines: str) -> None:
        """Add the lines that begin at a byte. Raise LockLost for an owner who was overtaken."""
        ...

    def put(self, rollout: int, at: int, lines: str) -> None:
        """Add lines of a rollout that is over."""
        ...

    def read(self, rollout: int, at: int) -> Iterator[str]:
        """Yield the lines from a byte on."""
        ...

    def prune(self, keep: int) -> None:
        """Remove the oldest recordings until `keep` are left."""
        ...


class SealedTexts(Protocol):
    """Texts that only hosts with the key of the store can read, or could have written."""

    def read(self, name: str) -> str:
        """Return a text; "" where there is none. Raise StoreDamaged for one that this key did not seal."""
        ...

    def write(self, name: str, text: str) -> None:
        """Write a text. Raise StoreFailed."""
        ...


class SharedDatabase(Protocol):
    """A database that several hosts share, the claims in it, and the secrets."""

    @property
    def name(self) -> str:
        """Return its address as it may be shown."""
        ...

    @property
    def database(self) -> Database:
        """Return the database."""
        ...

    @property
    def claims(self) -> Claims:
        """Return the claims."""
        ...

    @property
    def recordings(self) -> Recordings:
        """Return the recordings in it."""
        ...

    def vault(self, folder: Path) -> Vault:
        """Return the secrets in it, of which a state folder has the key."""
        ...

    def texts(self, folder: Path) -> SealedTexts:
        """Return the sealed texts in it, of which a state folder has the key."""
        ...

    def look(self) -> DatabaseLook:
        """Ask the database how it is. Raise StoreFailed."""
        ...

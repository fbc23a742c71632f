"""A database that several hosts share, as the store knows it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from deployer.store.claims import Claims
from deployer.store.database import Database
from deployer.store.vault import Vault


@dataclass(frozen=True)
class DatabaseLook:
    """How a database is: what it is, its bytes, the seconds that an answer took, and how far its clock is ahead."""

    version: str
    size: int
    took: float
    ahead: float


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

    def vault(self, folder: Path) -> Vault:
        """Return the secrets in it, of which a state folder has the key."""
        ...

    def look(self) -> DatabaseLook:
        """Ask the database how it is. Raise StoreFailed."""
        ...

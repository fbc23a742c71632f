"""What several hosts share of a store: its tables, the claims that say which of them does what, and secrets, sealed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deployer.core.clock import Clock
from deployer.store.postgres.claims import LeaseClaims
from deployer.store.postgres.database import PostgresDatabase
from deployer.store.postgres.recordings import SharedRecordings
from deployer.store.postgres.vault import SealedRows, SealedVault
from deployer.store.shared import DatabaseLook


@dataclass(frozen=True)
class PostgresStore:
    """A database and the claims in it."""

    database: PostgresDatabase
    claims: LeaseClaims

    @property
    def name(self) -> str:
        """Return its address as it may be shown."""
        return self.database.name

    @property
    def recordings(self) -> SharedRecordings:
        """Return the recordings in it."""
        return SharedRecordings(self.database)

    def vault(self, folder: Path) -> SealedVault:
        """Return the secrets in it, of which a state folder has the key."""
        return SealedVault(folder, self.database, self.name)

    def texts(self, folder: Path) -> SealedRows:
        """Return the sealed texts in it, of which a state folder has the key."""
        return SealedRows(folder, self.database, self.name)

    def look(self) -> DatabaseLook:
        """Ask the database how it is."""
        clock = self.database.clock
        with self.database.reading() as db:
            began, now = clock.monotonic(), clock.now()
            row = db.execute(
                "select current_setting('server_version') as version, extract(epoch from clock_timestamp()) as now,"
                " pg_database_size(current_database()) as size"
            ).fetchone()
            took = clock.monotonic() - began
        ahead = float(row["now"]) - now - took / 2
        return DatabaseLook(f"PostgreSQL {str(row['version']).partition(' ')[0]}", int(row["size"]), took, ahead)


def opened(address: str, clock: Clock) -> PostgresStore:
    """Open a database, and bring its tables to the present schema. Raise StoreFailed or Refused."""
    database = PostgresDatabase(address, clock)
    return PostgresStore(database, LeaseClaims(database, lambda: PostgresDatabase(address, clock), clock))

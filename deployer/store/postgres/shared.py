"""What several hosts share of a store: its tables, and the claims that say which of them does what."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.core.clock import Clock
from deployer.store.postgres.claims import LeaseClaims
from deployer.store.postgres.database import PostgresDatabase


@dataclass(frozen=True)
class PostgresStore:
    """A database and the claims in it."""

    database: PostgresDatabase
    claims: LeaseClaims


def opened(address: str, clock: Clock) -> PostgresStore:
    """Open a database, and bring its tables to the present schema. Raise StoreFailed or Refused."""
    database = PostgresDatabase(address, clock)
    return PostgresStore(database, LeaseClaims(database, lambda: PostgresDatabase(address, clock), clock))

"""Which control host a service is bound to: what serves it is there, out of reach of others that share the store."""

from __future__ import annotations

from deployer.store import meta
from deployer.store.database import Connection, Database
from deployer.store.fence import check
from deployer.store.owner import Lock


class Homes:
    """The homes of services that have one: host and state folder."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, service: str) -> str:
        """Return where a service is bound to; "" for one that every control host reaches."""
        with self._database.reading() as db:
            return meta.value(db, _key(service))

    def note(self, lock: Lock, home: str) -> None:
        """Write down where a service is bound to from now on."""
        with self._database.transaction() as db:
            check(db, lock)
            put(db, lock.service, home)


def put(db: Connection, service: str, home: str) -> None:
    """Write down where a service is bound to, within a transaction of the caller."""
    meta.put(db, _key(service), home)


def _key(service: str) -> str:
    return f"home:{service}"

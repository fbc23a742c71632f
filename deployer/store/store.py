"""The store: everything that must survive this process. Every write of a rollout is fenced by its lock."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.core import later
from deployer.core.clock import Clock
from deployer.store import damage, meta
from deployer.store.actor import Actor
from deployer.store.audit import Audit
from deployer.store.claims import Claims, KernelClaims
from deployer.store.concurrencies import Concurrencies
from deployer.store.database import Database
from deployer.store.events import Events
from deployer.store.journal import Journal
from deployer.store.locks import Locks, whoami
from deployer.store.needs import Needs
from deployer.store.owed import Owed
from deployer.store.ports import Ports
from deployer.store.privacy import private
from deployer.store.releases import Releases
from deployer.store.requests import ControlRequests
from deployer.store.rollouts import Rollouts
from deployer.store.services import Services
from deployer.store.sizes import Sizes
from deployer.store.sqlite.database import SqliteDatabase
from deployer.store.vault import Vault

if TYPE_CHECKING:
    from deployer.store import approvals, audit_chain, homes, jobs, loads, sets
    from deployer.store.shared import SharedDatabase
else:  # tables that a question about one service, and a rollback, do not read
    _SELDOM = ("approvals", "audit_chain", "homes", "jobs", "loads", "sets")
    approvals, audit_chain, homes, jobs, loads, sets = (later.module(f"deployer.store.{name}") for name in _SELDOM)


class Store:
    """The tables of one state folder, over one connection: in a file of the folder, unless hosts share a database.

    `new` makes a store also in a folder in which there was one. `file` is where it lies while it is being made in
    another place, for `deploy adopt`.
    """

    def __init__(
        self,
        folder: Path,
        clock: Clock,
        *,
        new: bool = False,
        file: Path | None = None,
        shared: SharedDatabase | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock
        self.file = file or folder / damage.NAME
        if shared:
            private(folder)
        self.database: Database = shared.database if shared else SqliteDatabase(self.file, new=new)
        self.claims: Claims = shared.claims if shared else KernelClaims(folder)
        self.shared = shared
        self.name = shared.name if shared else str(self.file)
        self.vault: Vault = shared.vault(folder) if shared else Vault(folder / "secrets")
        database, claims = self.database, self.claims
        installation = self.secret("installation")
        self.audit = audit = Audit(database, clock, Actor.here(whoami()))
        self.audit_log = later.made(lambda: audit_chain.AuditLog(database))
        self.locks = Locks(database, clock, audit, claims)
        self.services = Services(database, audit)
        self.homes = later.made(lambda: homes.Homes(database))
        self.sizes = Sizes(database, clock, audit)
        self.needs = Needs(database, clock)
        self.concurrencies = Concurrencies(database, clock)
        self.loads = later.made(lambda: loads.Loads(database))
        self.releases = Releases(database, clock)
        self.rollouts = rollouts = Rollouts(database, clock, audit)
        self.sets = later.made(lambda: sets.Sets(database, clock, rollouts.add))
        self.journal = Journal(database, clock, audit)
        self.events = Events(database)
        self.requests = ControlRequests(database, clock, audit)
        self.approvals = later.made(lambda: approvals.Approvals(database, clock, audit))
        self.ports = Ports(database, clock, installation)
        self.owed = Owed(database, claims)
        self.jobs = later.made(lambda: jobs.Jobs(database, clock, audit, claims))

    def close(self) -> None:
        """Release what this process holds, and close the connection."""
        self.locks.close()
        self.claims.close()
        self.database.close()

    def secret(self, name: str) -> str:
        """Return a random value that belongs to this state folder, made when first asked for."""
        with self.database.reading() as db:
            if found := meta.value(db, name):
                return found
        with self.database.transaction() as db:
            db.execute("insert into meta values (?, ?) on conflict do nothing", (name, os.urandom(16).hex()))
            return meta.value(db, name)

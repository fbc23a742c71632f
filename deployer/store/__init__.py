"""Releases, rollouts, journal, locks, events and the audit log in one SQLite file."""

from typing import TYPE_CHECKING

from deployer.core import later

if TYPE_CHECKING:
    from deployer.store.actor import DEPLOYER
    from deployer.store.audit import AuditEntry, AuditRecord
    from deployer.store.audit_chain import Chain
    from deployer.store.claims import Claim
    from deployer.store.damage import move_aside
    from deployer.store.heartbeat import Heartbeat
    from deployer.store.locks import Locks, whoami
    from deployer.store.owner import Lock
    from deployer.store.rare_records import ControlRequest, Vote
    from deployer.store.records import (
        PROMOTIONS,
        WORDS,
        JournalEntry,
        Port,
        Rollout,
        ServiceRecord,
        person_of,
    )
    from deployer.store.store import Store

__all__ = [
    "DEPLOYER",
    "PROMOTIONS",
    "WORDS",
    "AuditEntry",
    "AuditRecord",
    "Chain",
    "Claim",
    "ControlRequest",
    "Heartbeat",
    "JournalEntry",
    "Lock",
    "Locks",
    "Port",
    "Rollout",
    "ServiceRecord",
    "Store",
    "Vote",
    "move_aside",
    "person_of",
    "whoami",
]

_IN = {
    "actor": ("DEPLOYER",),
    "audit": ("AuditEntry", "AuditRecord"),
    "audit_chain": ("Chain",),
    "claims": ("Claim",),
    "damage": ("move_aside",),
    "heartbeat": ("Heartbeat",),
    "locks": ("Locks", "whoami"),
    "owner": ("Lock",),
    "records": (
        "PROMOTIONS",
        "WORDS",
        "JournalEntry",
        "Port",
        "Rollout",
        "ServiceRecord",
        "person_of",
    ),
    "rare_records": ("ControlRequest", "Vote"),
    "store": ("Store",),
}

__getattr__ = later.names(__name__, {name: f"{__name__}.{module}" for module, names in _IN.items() for name in names})

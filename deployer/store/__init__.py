"""Releases, rollouts, journal, locks, events and the audit log in one SQLite file."""

from deployer.store.actor import DEPLOYER
from deployer.store.audit import AuditEntry, AuditRecord
from deployer.store.audit_chain import Chain
from deployer.store.claims import Claim
from deployer.store.damage import move_aside
from deployer.store.heartbeat import Heartbeat
from deployer.store.locks import Locks, whoami
from deployer.store.owner import Lock
from deployer.store.records import (
    PROMOTIONS,
    WORDS,
    ControlRequest,
    JournalEntry,
    Port,
    Rollout,
    ServiceRecord,
    Vote,
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

"""Releases, rollouts, journal, locks, events and the audit log in one SQLite file."""

from deployer.store.actor import DEPLOYER
from deployer.store.audit import Deed, Record
from deployer.store.audit_chain import Chain
from deployer.store.damage import move_aside
from deployer.store.heart import Heart
from deployer.store.locks import Locks, whoami
from deployer.store.owner import Lock
from deployer.store.records import Ask, Entry, Port, Rollout, Service
from deployer.store.store import Store

__all__ = [
    "DEPLOYER",
    "Ask",
    "Chain",
    "Deed",
    "Entry",
    "Heart",
    "Lock",
    "Locks",
    "Port",
    "Record",
    "Rollout",
    "Service",
    "Store",
    "move_aside",
    "whoami",
]

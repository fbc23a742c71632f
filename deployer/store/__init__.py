"""Releases, rollouts, journal, locks, events and the audit log in one SQLite file."""

from deployer.store.actor import DEPLOYER
from deployer.store.audit import Deed, Record
from deployer.store.audit_chain import Chain
from deployer.store.damage import move_aside
from deployer.store.locks import Lock, Locks, whoami
from deployer.store.records import Ask, Entry, Port, Rollout, Service
from deployer.store.store import Store

__all__ = [
    "DEPLOYER",
    "Ask",
    "Chain",
    "Deed",
    "Entry",
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

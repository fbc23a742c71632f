"""Releases, rollouts, journal, locks, events and the audit log in one SQLite file."""

from deployer.store.actor import DEPLOYER
from deployer.store.audit import Deed, Record
from deployer.store.audit_chain import Chain
from deployer.store.damage import move_aside
from deployer.store.heart import Heart
from deployer.store.locks import Locks, whoami
from deployer.store.owner import Lock
from deployer.store.records import PROMOTIONS, WORDS, Ask, Entry, Port, Rollout, Service, Voice, person_of
from deployer.store.store import Store

__all__ = [
    "DEPLOYER",
    "PROMOTIONS",
    "WORDS",
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
    "Voice",
    "move_aside",
    "person_of",
    "whoami",
]

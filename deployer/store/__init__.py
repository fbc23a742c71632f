"""Releases, rollouts, journal, locks and events in one SQLite file."""

from deployer.store.damage import move_aside
from deployer.store.locks import Lock, Locks, whoami
from deployer.store.records import Ask, Entry, Rollout, Service
from deployer.store.store import Store

__all__ = ["Ask", "Entry", "Lock", "Locks", "Rollout", "Service", "Store", "move_aside", "whoami"]

"""Which control host reaches a service, where several share a store: what is on one of them is that one's alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployer.planning import reach, release_record
from deployer.store import Store

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest


def home_of(store: Store, service: str) -> str:
    """Return the control host that alone reaches what is live of a service; "" for one that each of them reaches."""
    if store.shared is None or not (home := store.homes.of(service)):
        return ""
    stable = store.services.get(service).stable
    return home if stable and reach.only_from_one(store.releases.get(service, stable).manifest) else ""


def is_elsewhere(store: Store, service: str) -> bool:
    """Return whether what is live of a service is reached from another control host alone."""
    return home_of(store, service) not in ("", release_record.home(store.folder))


def elsewhere(store: Store, manifest: Manifest) -> str:
    """Return why what a manifest describes cannot be reached from here; "" where it can, or nobody has deployed it."""
    if store.shared is None or not (why := reach.only_from_one(manifest)):
        return ""
    home = store.homes.of(manifest.service)
    if home in ("", release_record.home(store.folder)):
        return ""
    return f"{manifest.service} is reached from its control host alone, {home}: {why}"

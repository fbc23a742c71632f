"""What the file of a service says, read without the models that check it: a rollback to what still runs needs no more.

To build these models takes longer than the whole rest of such a rollback. Where a fact cannot be read, it is none, and
whoever asks goes the whole way, which says what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer import __version__
from deployer.core.digest import sha256
from deployer.core.errors import DriverFailed
from deployer.drivers.traffic.haproxy import layout
from deployer.model import COLOURS, Place, Server

if TYPE_CHECKING:
    from deployer.manifest.models import Manifest

ENTRY, TRIAL = "entry", "trial"  # what of the manifest the entry goes by, and its rules about a candidate


class SpecFacts:
    """The facts of one service, as its file has them now."""

    def __init__(self, folder: Path, service: str) -> None:
        self._service = service
        text = layout.read(folder / f"{service}.json")
        self.there = text is not None  # whether the proxy knows the service
        self._data = _read(text or "{}")

    def require(self) -> None:
        """Raise DriverFailed when the proxy does not know the service."""
        if not self.there:
            raise not_known(self._service)

    @property
    def places(self) -> tuple[Place, ...]:
        """The places that have a backend."""
        return (*COLOURS, "baseline") if self._data.get("baseline") else COLOURS

    def follows(self, manifest: Manifest, place: Place | None, key: str, chain_key: str = "", learned: int = 0) -> bool:
        """Return whether the place, or the entry, is as the manifest says, and signs with the keys that are given."""
        said, wanted = self._data.get("said"), said_of(manifest, learned)
        if not wanted or not said or key not in ("", self._data.get("key")):
            return False
        if chain_key not in ("", self._data.get("chain_key")):
            return False
        fresh = bool(self._data.get("baseline"))
        if (place is None and fresh) or (place == "baseline" and not fresh):
            return False
        parts = {place} if place == "baseline" else {place or ENTRY, TRIAL}
        return isinstance(said, dict) and all(said.get(part) == wanted for part in parts)

    def asleep(self) -> dict[Place, float]:
        """Return the places whose release sleeps, and since when."""
        sides = {place: self._data.get(place) for place in COLOURS}
        found = {place: side.get("asleep") for place, side in sides.items() if isinstance(side, dict)}
        return {place: float(since) for place, since in found.items() if isinstance(since, int | float) and since}

    def ignores(self, place: Place) -> bool:
        """Return whether some requests to a place neither wake its release nor keep it awake."""
        side = self._data.get(place)
        return bool(side.get("ignored")) if isinstance(side, dict) else False

    def concurrency(self, place: Place) -> int:
        """Return how many requests an instance of a place gets at once; 0 for as many as come."""
        side = self._data.get(place)
        return int(side.get("concurrency") or 0) if isinstance(side, dict) else 0

    def has(self, place: Place, servers: Sequence[Server]) -> bool:
        """Return whether the place has these servers, and none of them is leaving."""
        side = self._data.get(place)
        members = side.get("members") if isinstance(side, dict) else None
        if not isinstance(members, list):
            return False
        there = [(m.get("name"), m.get("address"), m.get("leaving")) for m in members if isinstance(m, dict)]
        return all((server.name, server.address, False) in there for server in servers)


def not_known(service: str) -> DriverFailed:
    """Return the error about a service that the proxy does not know."""
    return DriverFailed(f"the proxy does not know {service}", "deploy it first")


def said_of(manifest: Manifest, learned: int = 0) -> str:
    """Return a name for what the proxy goes by in a manifest; "" where not all of it is there: certificates of a user.

    Where `scale.concurrency` is learned, what was `learned` is a part of that.

    Another version of deployer may write other rules for the same manifest: it gives it another name.
    """
    record = manifest.record()
    traffic, health = record.get("traffic"), record.get("health")
    if not traffic or (traffic.get("tls") or {}).get("certificates"):
        return ""
    scale = record.get("scale") or {}
    facts = [__version__, traffic, health, scale.get("concurrency"), scale.get("wait")]
    if scale.get("concurrency") == "auto":
        facts += [learned]
    if scale.get("min") == 0:
        facts += [record.get("runtime"), scale.get("wake")]
    return sha256(json.dumps(facts, sort_keys=True).encode())[:32]


def _read(text: str) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}

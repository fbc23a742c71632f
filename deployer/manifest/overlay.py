"""Overlays: `deploy.staging.yml` says what is different at the destination `staging`.

Mappings are merged key by key; lists and single values are replaced; a key without a value goes back to its default.
"""

from __future__ import annotations

import re
from pathlib import Path

from deployer.core.errors import Problem
from deployer.manifest.tree import Node, Scalar, Table

_DESTINATION = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def overlay_file(path: Path, destination: str) -> Path:
    """Name the overlay of a manifest: deploy.yml and staging give deploy.staging.yml."""
    return path.with_name(f"{path.stem}.{destination}{path.suffix}")


def destinations(path: Path) -> tuple[str, ...]:
    """Return the destinations for which overlays lie beside the manifest."""
    names = (file.name for file in path.parent.glob("*") if file.is_file())
    pattern = re.compile(rf"{re.escape(path.stem)}\.({_DESTINATION.pattern}){re.escape(path.suffix)}")
    return tuple(sorted(match[1] for match in map(pattern.fullmatch, names) if match))


def refuse_destination(path: Path, destination: str) -> Problem | None:
    """Return why there is no such destination, None when there is."""
    known = destinations(path)
    if destination in known:
        return None
    there = f"known here: {', '.join(known)}" if known else f"write {path.stem}.NAME{path.suffix} to make one"
    if not _DESTINATION.fullmatch(destination):
        return Problem(path.name, "", f"{destination!r} cannot name a destination", there)
    name = overlay_file(path, destination).name
    return Problem(path.name, "", f"there is no destination {destination!r}: {name} is not there", there)


def merge(base: Table, over: Table) -> Table:
    """Lay one mapping over another."""
    merged = base
    for key, node in over.entries.items():
        below = base.entries.get(key)
        if isinstance(below, Table) and isinstance(node, Table):
            merged = merged.put(key, merge(below, node), over.keys[key])
        elif _is_nothing(node):
            merged = merged.drop(key)
        else:
            merged = merged.put(key, node, over.keys[key])
    return merged


def _is_nothing(node: Node) -> bool:
    return isinstance(node, Scalar) and node.value is None


def rename(root: Table, destination: str) -> Table:
    """Set the service's name at the destination: `shop` is `shop-staging` there."""
    service = root.entries.get("service")
    if not isinstance(service, Scalar) or not isinstance(service.value, str):
        return root
    name = f"{service.text}-{destination}"
    return root.put("service", Scalar(service.place, name, False, name), root.keys["service"])

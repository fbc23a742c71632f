"""What an instance carries of its release, so that a store that was lost can be rebuilt from what runs.

A container has it as a label, a process beside its spec. Values of secrets are no part of a release, so none is in it.
What became of the release is left out as well: a label is written once. So is what was proven of its image: whoever can
write a label must not prove anything by it; the next deploy asks again who signed. And so are the hosts: how ssh
reaches them is for the inventory to say, never for a label.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from deployer.model import GuestTerms, Release

FORMAT = 1
_PLAIN = {
    "service": str,
    "number": int,
    "version": str,
    "image": str,
    "image_id": str,
    "config_hash": str,
    "git": str,
    "created_at": float,
    "created_by": str,
    "message": str,
}


def home(state: Path) -> str:
    """Return where a state folder is, as instances carry it: `web-1:/var/lib/deployer`."""
    return f"{socket.gethostname()}:{state}"


def write(release: Release) -> str:
    """Write the record of a release as one line of JSON."""
    plain = {name: getattr(release, name) for name in _PLAIN}
    plain |= {"alone": True} if release.alone else {}
    plain |= {"terms": release.terms.record()} if release.terms else {}
    return json.dumps({"format": FORMAT, **plain, "manifest": release.manifest.record()}, separators=(",", ":"))


def read(text: str) -> Release:
    """Read a record back; the release has the status `new`. Raises ValueError, saying what is wrong with it."""
    if not text:
        raise ValueError("it carries no record of its release")
    try:
        data = json.loads(text)
    except RecursionError:
        raise ValueError("its record is nested without end") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise ValueError(f"its record is not of format {FORMAT}, which is all that this version reads")
    for name, kind in _PLAIN.items():
        value = data.get(name)
        if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool):
            raise ValueError(f"its record has {name} {value!r}, which is no {kind.__name__}")
    from deployer.manifest.models import Manifest

    manifest = data.get("manifest")
    if not isinstance(manifest, dict):
        raise ValueError("its record has no manifest")
    plain: dict[str, Any] = {name: kind(data[name]) for name, kind in _PLAIN.items()}
    try:
        terms = GuestTerms.read(data["terms"]) if "terms" in data else None
    except (TypeError, AttributeError) as error:
        raise ValueError(f"its record has terms of a tenant that cannot be read: {error}") from None
    return Release(**plain, manifest=Manifest.from_record(manifest), alone=data.get("alone") is True, terms=terms)

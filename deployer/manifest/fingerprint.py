"""Whether two manifests are the same text: a client has one, the server deploys by another."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deployer.core.errors import Refused


def fingerprint(path: Path, destination: str = "") -> str:
    """Return the SHA-256 of a manifest's file, and of the overlay of its destination. Raises Refused."""
    digest = hashlib.sha256()
    above = path.with_name(f"{path.stem}.{destination}{path.suffix}")  # as `manifest.overlay`, without its imports
    for file in (path, above) if destination else (path,):
        try:
            text = file.read_bytes()
        except OSError as error:
            raise Refused(f"{file} cannot be read: {error.strerror}", "name the manifest with -f") from None
        digest.update(hashlib.sha256(text).digest())
    return digest.hexdigest()

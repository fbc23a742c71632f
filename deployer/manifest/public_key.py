"""Public keys that a manifest names: what cosign writes as `cosign.pub`."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

MOST = 64 * 1024  # bytes; the longest RSA keys take 1 KiB
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----\s+(?P<data>[A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----\s*")


class Unfit(Exception):
    """A file that holds no public key: what is wrong, and what would be right."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class PublicKey:
    """A public key: its name in the manifest, its text, and the SHA-256 of its DER form as hex digits."""

    name: str
    pem: str
    fingerprint: str


def read(folder: Path, name: str) -> PublicKey:
    """Read a key by its path in the manifest. Raises Unfit."""
    file = folder / name
    try:
        if not file.is_file():
            raise Unfit("is not a file" if file.exists() else "is not there", "paths are relative to the manifest")
        with file.open("rb") as opened:
            raw = opened.read(MOST + 1)
    except OSError as error:
        raise Unfit(f"cannot be read: {error.strerror}", "check its permissions") from None
    text = raw.decode("ascii", "replace")
    if "PRIVATE KEY" in text:
        raise Unfit("is a private key", "name the public one, which `cosign public-key --key FILE` prints")
    found = _PEM.fullmatch(text.strip() + "\n")
    try:
        der = base64.b64decode("".join(found["data"].split()), validate=True) if found and len(raw) <= MOST else b""
    except binascii.Error:
        der = b""
    if not der:
        raise Unfit("holds no public key", "it must be PEM, one key, with -----BEGIN PUBLIC KEY-----")
    return PublicKey(name, text, hashlib.sha256(der).hexdigest())

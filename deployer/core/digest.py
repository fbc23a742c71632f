"""The digest by which contents are told apart."""

from __future__ import annotations


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal digits."""
    import hashlib  # with OpenSSL, which most questions do not need

    return hashlib.sha256(data).hexdigest()

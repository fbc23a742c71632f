"""Signatures by minisign (https://jedisct1.github.io/minisign/): one public key in a file, on one line."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from deployer.bundle.contents import digest_of
from deployer.bundle.signing.message import BY_OTHER_KEY, DAMAGED, NAMESPACE, named_line, refused, run, written
from deployer.core.errors import Refused

VARIABLE = "MINISIGN_PASSWORD"  # of the secret key, where it has one
_INSTALL = "`minisign` is needed: apt-get install minisign"
_COMMENT, _SECRET = "untrusted comment:", b"secret key"
_KEY = slice(2, 10)  # bytes of a key and of a signature that name the key
_LINES = 4


class Minisign:
    """Signs by the program `minisign`."""

    NAME = "minisign"

    def has_secret(self, key: bytes) -> bool:
        """Return whether a file begins as a secret key of minisign does."""
        first = key.partition(b"\n")[0]
        return first.startswith(_COMMENT.encode()) and _SECRET in first

    def has_public(self, keys: bytes) -> bool:
        """Return whether a file begins as a public key of minisign does."""
        return keys.startswith(_COMMENT.encode()) and not self.has_secret(keys)

    def made(self, signature: str) -> bool:
        """Return whether a signature begins as those of minisign do."""
        return signature.startswith(_COMMENT)

    def sign(self, contents: bytes, key: Path) -> str:
        """Return the signature, with its comments."""
        with written(named_line(contents)) as (message, place):
            paths = ["-s", str(key.absolute()), "-m", str(message), "-x", str(place)]
            comment = ["-t", f"{NAMESPACE} {digest_of(contents)}"]
            password = os.environ.get(VARIABLE, "")
            with refused(
                f"the bundle cannot be signed with {key}", f"where the key has a password: {VARIABLE}", _INSTALL
            ):
                run(["minisign", "-S", *paths, *comment], f"{password}\n".encode())
            return place.read_text(encoding="utf-8")

    def signer(self, contents: bytes, signature: str, keys: Path) -> str:
        """Return the file of the key, and its number, where this key signed."""
        made, known = _key(signature.splitlines(), 1), _key(_text(keys).splitlines(), -1)
        if made != known:
            raise Refused(f"it is signed by the minisign key {made}, and {keys} is the key {known}", BY_OTHER_KEY)
        with written(named_line(contents), signature) as (message, place):
            hint = f"the signature is damaged, or that of another bundle: {DAMAGED}"
            with refused(f"its signature by the minisign key {made} does not fit its contents", hint, _INSTALL):
                run(["minisign", "-V", "-p", str(keys.absolute()), "-m", str(message), "-x", str(place)])
        return f"{keys.name} (minisign key {made})"

    def refuse_damaged(self, contents: bytes, signature: str) -> None:
        """Raise Refused where the signature has another form, or names another bundle in its comment."""
        lines = signature.splitlines()
        _key(lines, 1)
        if len(lines) != _LINES or not lines[2].endswith(digest_of(contents)):
            raise Refused("its signature is damaged, or that of another bundle", DAMAGED)


def _text(keys: Path) -> str:
    return keys.read_text(encoding="utf-8", errors="replace").strip()


def _key(lines: list[str], at: int) -> str:
    """Return the number of the key that a line of a key or a signature has, as minisign writes it."""
    try:
        number = base64.b64decode(lines[at], validate=True)[_KEY]
    except (ValueError, IndexError):
        number = b""
    if len(number) != _KEY.stop - _KEY.start:
        raise Refused("its signature, or the public key, is not one of minisign", DAMAGED)
    return number[::-1].hex().upper()

"""Signatures by cosign (https://docs.sigstore.dev/cosign/signing/signing_with_blobs/) with a key, without a log."""

from __future__ import annotations

import base64
import os
from pathlib import Path

from deployer.bundle.signing.message import BY_OTHER_KEY, DAMAGED, named_line, refused, run, written
from deployer.core.cosign import INSTALL, surroundings
from deployer.core.errors import Refused

VARIABLE = "COSIGN_PASSWORD"  # of the secret key, which may be empty
_SECRETS = (b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----", b"-----BEGIN ENCRYPTED COSIGN PRIVATE KEY-----")
_PUBLIC, _MARK = b"-----BEGIN PUBLIC KEY-----", "cosign "


class CosignBlobs:
    """Signs by `cosign sign-blob`; nothing is sent to a transparency log, which other hosts could not read."""

    NAME = "cosign"

    def has_secret(self, key: bytes) -> bool:
        """Return whether a file is a secret key of cosign."""
        return key.lstrip().startswith(_SECRETS)

    def has_public(self, keys: bytes) -> bool:
        """Return whether a file is a public key as PEM."""
        return keys.lstrip().startswith(_PUBLIC)

    def made(self, signature: str) -> bool:
        """Return whether a signature is marked as one of cosign."""
        return signature.startswith(_MARK)

    def sign(self, contents: bytes, key: Path) -> str:
        """Return the signature as base64, marked."""
        environ = {**surroundings(os.environ), VARIABLE: os.environ.get(VARIABLE, "")}
        with written(named_line(contents)) as (message, place):
            options = ["--yes", "--tlog-upload=false", "--key", str(key.absolute()), "--output-signature", str(place)]
            with refused(
                f"the bundle cannot be signed with {key}", f"where the key has a password: {VARIABLE}", INSTALL
            ):
                run(["cosign", "sign-blob", *options, str(message)], environ=environ)
            return _MARK + place.read_text(encoding="ascii").strip()

    def signer(self, contents: bytes, signature: str, keys: Path) -> str:
        """Return the file of the key, where this key signed."""
        self.refuse_damaged(contents, signature)
        with written(named_line(contents), signature.removeprefix(_MARK)) as (message, place):
            options = ["--insecure-ignore-tlog=true", "--key", str(keys.absolute()), "--signature", str(place)]
            hint = f"the signature is by another key, or of another bundle: {BY_OTHER_KEY}"
            with refused(f"it is not signed by the cosign key {keys}", hint, INSTALL):
                run(["cosign", "verify-blob", *options, str(message)], environ=surroundings(os.environ))
        return f"{keys.name} (cosign)"

    def refuse_damaged(self, _contents: bytes, signature: str) -> None:
        """Raise Refused where the signature is not base64; whose it is shows a key only."""
        try:
            base64.b64decode(signature.removeprefix(_MARK), validate=True)
        except ValueError:
            raise Refused("its signature is damaged: it is not base64", DAMAGED) from None

"""Signs images with the real cosign, and keeps a transparency log of one entry without any server."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization  # comes with ansible-core
from cryptography.hazmat.primitives.asymmetric import ec

from tests.lab.registry import Registry

WITHIN = 60  # seconds for cosign to make keys or to sign


def public_key() -> str:
    """Return the PEM of a new public key."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


@dataclass(frozen=True)
class Signer:
    """A key pair `cosign.key`, `cosign.pub` in a folder, made by cosign."""

    folder: Path

    @property
    def public(self) -> Path:
        return self.folder / "cosign.pub"

    def sign(self, reference: str) -> None:
        """Sign what a name with a digest names, and push the signature beside it."""
        _cosign(self.folder, "sign", "--key=cosign.key", "--tlog-upload=false", "--yes", reference)


def signer(folder: Path) -> Signer:
    """Make a key pair in a new folder."""
    folder.mkdir()
    _cosign(folder, "generate-key-pair")
    return Signer(folder)


def _cosign(folder: Path, *words: str) -> None:
    environ = {**os.environ, "COSIGN_PASSWORD": "", "HOME": str(folder)}
    subprocess.run(["cosign", *words], cwd=folder, env=environ, check=True, capture_output=True, timeout=WITHIN)


def _pem(private: ec.EllipticCurvePrivateKey) -> str:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private.public_key().public_bytes(encoding, form).decode()


def log(registry: Registry, name: str, digest: str, key: Path, folder: Path) -> Path:
    """Put the signature of an image into a transparency log of our own; return the log's public key.

    What the log Rekor answers to an upload (its signed promise of the entry) is put beside the signature, as
    `cosign sign` does (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md).
    """
    private = ec.generate_private_key(ec.SECP256R1())
    place = f"{name}:sha256-{digest.removeprefix('sha256:')}.sig"
    manifest = json.loads(registry.blobs[registry.tags[place]])
    layer = manifest["layers"][-1]
    body = {
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": {"hash": {"algorithm": "sha256", "value": layer["digest"].removeprefix("sha256:")}},
            "signature": {
                "content": layer["annotations"]["dev.cosignproject.cosign/signature"],
                "publicKey": {"content": base64.b64encode(key.read_bytes()).decode()},
            },
        },
    }
    der = private.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    entry = {
        "body": base64.b64encode(json.dumps(body).encode()).decode(),
        "integratedTime": 1_700_000_000,
        "logID": hashlib.sha256(der).hexdigest(),
        "logIndex": 1,
    }
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    promise = base64.b64encode(private.sign(canonical, ec.ECDSA(hashes.SHA256()))).decode()
    bundle = {"SignedEntryTimestamp": promise, "Payload": entry}
    layer["annotations"]["dev.sigstore.cosign/bundle"] = json.dumps(bundle)
    registry.put(name, place.partition(":")[2], json.dumps(manifest).encode(), manifest["mediaType"])
    file = folder / "rekor.pub"
    file.write_text(_pem(private))
    return file
